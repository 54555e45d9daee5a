package transcode

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The values of VIDEO-RANGE (RFC 8216bis) for HDR.
const (
	RangePQ  = "PQ"
	RangeHLG = "HLG"
)

// VideoRange returns PQ or HLG, or "" of SDR.
func (c *Color) VideoRange() string {
	switch {
	case c != nil && c.Transfer == "smpte2084":
		return RangePQ
	case c != nil && c.Transfer == "arib-std-b67":
		return RangeHLG
	}
	return ""
}

// depth matches the bits of a sample in the name of a pixel format.
var depth = regexp.MustCompile(`(?:p|gray|^p0|^x2rgb|^x2bgr)(9|10|12|14|16)(?:le|be)?$`)

// deepRGB matches the pixel formats of 16 bits whose names have the bits of all samples.
var deepRGB = regexp.MustCompile(`^(rgb48|bgr48|rgba64|bgra64|ayuv64)`)

// alpha matches the pixel formats that have transparency.
var alpha = regexp.MustCompile(`^(yuva|gbrap|argb|rgba|abgr|bgra|ya8|ya16|ayuv)`)

// transparent reports whether a video can be meant to be seen through. ffmpeg decodes
// animated pictures with transparency, whether they have any or not.
func (v VideoStream) transparent() bool {
	return v.Alpha || alpha.MatchString(v.PixelFormat) && !slices.Contains([]string{"gif", "apng", "png", "webp"}, v.Codec)
}

// bits returns how many bits each sample of a pixel format has.
func bits(pixelFormat string) int {
	if m := depth.FindStringSubmatch(pixelFormat); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	if deepRGB.MatchString(pixelFormat) {
		return 16
	}
	return 8
}

// paint says how the colors of a source come out: in 10 bits if the encoder is
// libx265, and in HDR unless SDR was asked for. Whatever has 8 bits is SDR.
func (p *Plan) paint(r Request, v VideoStream, o Options) (toneMap bool) {
	dynamic, deep := v.Color.VideoRange(), bits(v.PixelFormat) > 8
	if v.transparent() {
		p.note("its transparency is not in the output")
	}
	if r.custom() {
		return dynamic != "" && o.eightBit()
	}
	kept := false // by one rendition at least
	for i, rendition := range p.Renditions {
		p.Renditions[i].TenBit = deep && encoderFor(r, o, rendition) == EncoderX265
		if p.Renditions[i].TenBit && r.HDR != HDRToSDR {
			p.Renditions[i].VideoRange = dynamic
		}
		kept = kept || p.Renditions[i].TenBit
	}
	switch {
	case dynamic != "" && !kept && r.HDR != HDRToSDR:
		p.note("HDR (%s) is tone-mapped to SDR, because %s has 8 bits here; h265 keeps it", dynamic, r.codec())
	case deep && !kept:
		p.note("%d bits of each sample become 8; h265 keeps 10", bits(v.PixelFormat))
	}
	if v.Color != nil && v.Color.Dolby > 0 && dynamic != "" {
		p.note("of Dolby Vision, the base layer is kept, which is %s", dynamic)
	}
	return dynamic != ""
}

// plannableColor returns an error if the colors of a source cannot be read. Dolby Vision
// of profile 5 has a base layer of its own kind, and so has any that says so.
func plannableColor(c *Color) error {
	if c == nil || c.Dolby != 5 && (c.Dolby == 0 || !c.DolbyAlone || c.VideoRange() != "") {
		return nil
	}
	return fmt.Errorf("its video is Dolby Vision of profile %d, whose colors only a decoder of Dolby Vision can show; want a video with HDR10, HLG or SDR as its base layer (profile 7 or 8)", c.Dolby)
}

// eightBit reports whether options make a picture of 8 bits of a source with more:
// by a pixel format, or by an encoder that has no other.
func (o Options) eightBit() bool {
	i := slices.Index(o.Video, "-pix_fmt:v")
	if i >= 0 && i+1 < len(o.Video) {
		return bits(o.Video[i+1]) == 8
	}
	return o.Encoder != "" && !slices.Contains([]string{EncoderX264, EncoderX265, "libvpx-vp9", "libaom-av1", "libsvtav1", "prores", "prores_ks"}, o.Encoder)
}

// The values of a Color that are passed on to ffmpeg.
var (
	colorName     = regexp.MustCompile(`^[a-z0-9-]{0,20}$`)
	masteringText = regexp.MustCompile(`^(G\([0-9]{1,9},[0-9]{1,9}\)B\([0-9]{1,9},[0-9]{1,9}\)R\([0-9]{1,9},[0-9]{1,9}\)WP\([0-9]{1,9},[0-9]{1,9}\)L\([0-9]{1,9},[0-9]{1,9}\))?$`)
	lightText     = regexp.MustCompile(`^([0-9]{1,6},[0-9]{1,6})?$`)
)

// sane reports whether c can be passed on.
func (c *Color) sane() bool {
	if c == nil {
		return true
	}
	names := strings.Join([]string{c.Matrix, c.Transfer, c.Primaries}, "")
	return slices.Contains([]string{"", "tv", "pc"}, c.Range) && colorName.MatchString(c.Matrix) && colorName.MatchString(c.Transfer) &&
		colorName.MatchString(c.Primaries) && !strings.Contains(names, "--") && masteringText.MatchString(c.Mastering) &&
		lightText.MatchString(c.Light) && within(c.Dolby, 100)
}

// full reports whether a picture uses the whole range of its numbers. RGB does
// always, and is converted.
func (v VideoStream) full() bool {
	return v.Color != nil && v.Color.Range == "pc" && !v.rgb()
}

// rgb reports whether a source has red, green and blue in place of luma and chroma.
func (v VideoStream) rgb() bool {
	return v.Color != nil && v.Color.Matrix == "gbr" || strings.Contains(v.PixelFormat, "rgb") || strings.Contains(v.PixelFormat, "bgr") ||
		strings.HasPrefix(v.PixelFormat, "gbr") || v.PixelFormat == "pal8"
}
