package worker

import (
	"cmp"
	"fmt"

	"pibootd/pkg/transcode"
)

// sameAspect is how far the shape of two pictures may differ, as a share, to be taken
// for the same: sizes are rounded.
const sameAspect = 0.02

// letterbox returns filters that fit pictures of any size, and of any sample aspect
// ratio, into width and height, which have the shape aspect. A source may change its
// size midway, as broadcasts do between 4:3 and 16:9.
func letterbox(width, height int, aspect float64) string {
	share := fmt.Sprintf("if(lt(abs(dar/%[1]f-1),%[2]g),1,dar/%[1]f)", aspect, sameAspect)
	return fmt.Sprintf("scale=w='2*round(%d/2*min(1,%[3]s))':h='2*round(%[2]d/2*min(1,1/(%[3]s)))':eval=frame,pad=%[1]d:%[2]d:-1:-1:eval=frame",
		width, height, share)
}

// toneMap returns the filters that bring HDR to BT.709, which zscale does in linear
// light.
func toneMap(c *transcode.Color) string {
	return fmt.Sprintf("zscale=tin=%s:min=%s:pin=%s:rin=%s:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,"+
		"tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv",
		c.Transfer, cmp.Or(c.Matrix, "bt2020nc"), cmp.Or(c.Primaries, "bt2020"), cmp.Or(c.Range, "tv"))
}

// brighten returns the filters that bring SDR to the colors of HDR: its white becomes 203 cd/m²,
// as that of graphics (ITU-R BT.2408 §2.2). What c does not say is BT.709.
func brighten(c, to transcode.Color) string {
	named := func(name string) string { return cmp.Or(name, "bt709") }
	return fmt.Sprintf("setparams=range=%s:color_primaries=%s:color_trc=%s:colorspace=%s,zscale=t=linear,format=gbrpf32le,zscale=p=%s:t=%s:m=%s:r=%s:npl=203",
		cmp.Or(c.Range, "tv"), named(c.Primaries), named(c.Transfer), named(c.Matrix),
		cmp.Or(to.Primaries, "bt2020"), to.Transfer, cmp.Or(to.Matrix, "bt2020nc"), cmp.Or(to.Range, "tv"))
}

// colorFilter returns the filters that give the encoder of u a pixel format, and the
// colors of RGB and HDR new numbers.
func colorFilter(u transcode.VideoUnit) string {
	encoder := encoderOf(u)
	software := encoder == transcode.EncoderX264 || encoder == transcode.EncoderX265
	format := pixelFormat(encoder)
	switch {
	case u.Rendition.TenBit:
		format = "format=yuv420p10le"
	case u.FullRange && software && !u.ToneMap:
		format = "format=yuvj420p"
	}
	switch {
	case u.ToneMap && u.Color != nil:
		return toneMap(u.Color) + "," + format
	case u.RGB:
		return "scale=out_color_matrix=bt709:out_range=tv," + format + ",setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
	}
	return format
}

// hdrParams are x265's own for an HDR rendition: what a display needs to know is
// repeated in every segment.
func hdrParams(u transcode.VideoUnit) string {
	if u.Rendition.VideoRange == "" || u.Color == nil {
		return ""
	}
	params := ":repeat-headers=1"
	if u.Rendition.VideoRange == transcode.RangePQ {
		params += ":hdr10=1"
	}
	if u.Color.Mastering != "" {
		params += ":master-display=" + u.Color.Mastering
	}
	if u.Color.Light != "" {
		params += ":max-cll=" + u.Color.Light
	}
	return params
}

// fieldFilter returns the filter that makes frames of fields; "" if there are none.
func fieldFilter(u transcode.VideoUnit) string {
	if !u.Deinterlaced {
		return ""
	}
	filter := "bwdif=mode=send_frame"
	switch u.Fields {
	case transcode.FieldsFlagged:
		filter += ":deint=interlaced"
	case transcode.FieldsEach:
		filter = "bwdif=mode=send_field"
	case transcode.FieldsFilm:
		filter = "fieldmatch,bwdif=mode=send_frame:deint=interlaced,decimate"
	}
	if u.SourceWidth > 0 && u.Aspect > 0 {
		// These filters take one size of picture only.
		filter = fmt.Sprintf("scale=%d:%d:eval=frame:interl=-1,%s", u.SourceWidth, u.SourceHeight, filter)
	}
	return "," + filter
}
