package worker

import (
	"fmt"
	"math"
	"strings"

	"pibootd/pkg/transcode"
)

// sideData is what ffprobe says of a stream or of a frame besides its own fields.
type sideData struct {
	Rotation   float64 `json:"rotation"`
	Dolby      int     `json:"dv_profile"`
	Compatible int     `json:"dv_bl_signal_compatibility_id"`
	RedX       string  `json:"red_x"`
	RedY       string  `json:"red_y"`
	GreenX     string  `json:"green_x"`
	GreenY     string  `json:"green_y"`
	BlueX      string  `json:"blue_x"`
	BlueY      string  `json:"blue_y"`
	WhiteX     string  `json:"white_point_x"`
	WhiteY     string  `json:"white_point_y"`
	MinLight   string  `json:"min_luminance"`
	MaxLight   string  `json:"max_luminance"`
	MaxContent int     `json:"max_content"`
	MaxAverage int     `json:"max_average"`
}

// color returns what the numbers of s mean; nil if nothing is known.
func (s *stream) color() *transcode.Color {
	known := func(name string) string {
		if name == "unknown" || name == "reserved" {
			return ""
		}
		return cut(name)
	}
	c := &transcode.Color{
		Range: known(s.ColorRange), Matrix: known(s.ColorSpace), Transfer: known(s.ColorTransfer), Primaries: known(s.ColorPrimaries),
	}
	if strings.HasPrefix(s.PixFmt, "yuvj") {
		c.Range = "pc"
	}
	addLight(c, s.SideData)
	if *c == (transcode.Color{}) {
		return nil
	}
	return c
}

// addLight adds what is known of HDR.
func addLight(c *transcode.Color, list []sideData) {
	for _, d := range list {
		switch {
		case d.Dolby > 0:
			c.Dolby, c.DolbyAlone = d.Dolby, d.Compatible == 0
		case d.MaxContent > 0:
			c.Light = fmt.Sprintf("%d,%d", min(d.MaxContent, 99999), min(max(d.MaxAverage, 0), 99999))
		case d.GreenX != "" && d.MaxLight != "":
			c.Mastering = d.mastering()
		}
	}
}

// mastering writes a display as x265 reads it: in units of 0.00002, and of 0.0001
// cd/m² for light.
func (d sideData) mastering() string {
	at := func(x, y string, scale float64) string {
		n := func(s string) int { return int(math.Round(min(rational(s).Float(), 1e4) * scale)) }
		return fmt.Sprintf("(%d,%d)", n(x), n(y))
	}
	return "G" + at(d.GreenX, d.GreenY, 50000) + "B" + at(d.BlueX, d.BlueY, 50000) + "R" + at(d.RedX, d.RedY, 50000) +
		"WP" + at(d.WhiteX, d.WhiteY, 50000) + "L" + at(d.MaxLight, d.MinLight, 10000)
}
