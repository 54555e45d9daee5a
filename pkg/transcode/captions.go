package transcode

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// A Caption is a channel or a service of the closed captions in the video.
type Caption struct {
	InstreamID string `json:"instream_id"`        // CC1 to CC4, or SERVICE1 to SERVICE63
	Language   string `json:"language,omitempty"` // BCP 47; "" if unknown
}

// captionID matches what RFC 8216bis §4.4.6.1 has for INSTREAM-ID.
var captionID = regexp.MustCompile(`^(CC[1-4]|SERVICE([1-9]|[1-5][0-9]|6[0-3]))$`)

// maxCaptions is how many channels and services there can be.
const maxCaptions = 4 + 63

// passOnCaptions decides whether the closed captions of a source stay in its video, and
// notes if they do not. Each frame has a part of them, so that they need all frames, each
// once; and an encoder that takes them.
func (p *Plan) passOnCaptions(r Request, v VideoStream, audio *AudioStream, o Options) {
	p.CaptionsKnown = true
	if len(v.Captions) == 0 {
		return
	}
	source, rate := v.Rate.Float(), p.Grid.Rate.Float()
	fields := r.fields(v)
	var by []string
	for _, rendition := range p.Renditions {
		if encoder := encoderFor(r, o, rendition); encoder != EncoderX264 && !slices.Contains(by, encoder) {
			by = append(by, encoder)
		}
	}
	switch {
	case math.Abs(source-rate) > rate/200 || fields == FieldsEach || fields == FieldsFilm:
		p.note("not in the output: closed captions (%s), because its frames are not those of the source", strings.Join(v.Captions, ", "))
		return
	case len(p.Renditions) > 0 && len(by) > 0 && !p.hasEncoder(r, o, EncoderX264):
		p.note("not in the output: closed captions (%s), which %s does not pass on; %s does", strings.Join(v.Captions, ", "), strings.Join(by, " and "), EncoderX264)
		return
	case len(by) > 0:
		p.note("closed captions (%s) are not in the renditions by %s", strings.Join(v.Captions, ", "), strings.Join(by, " and "))
	}
	for _, id := range v.Captions {
		c := Caption{InstreamID: id}
		if audio != nil && (id == "CC1" || id == "SERVICE1") { // the language that is spoken, by CTA-608 and CTA-708
			c.Language = audio.Language
		}
		p.Captions = append(p.Captions, c)
	}
}

func (p *Plan) hasEncoder(r Request, o Options, encoder string) bool {
	return slices.ContainsFunc(p.Renditions, func(rendition Rendition) bool { return encoderFor(r, o, rendition) == encoder })
}

// HasCaptions reports whether a rendition has the plan's closed captions.
func (p Plan) HasCaptions(r Rendition) bool {
	return len(p.Captions) > 0 && p.Output.of(cmp.Or(r.Codec, p.Output.codec())).encoder() == EncoderX264
}

func checkCaptions(list []string) error {
	if len(list) > maxCaptions {
		return fmt.Errorf("%d captions; want %d at most", len(list), maxCaptions)
	}
	for _, id := range list {
		if !captionID.MatchString(id) {
			return fmt.Errorf("captions %.20q; want CC1 to CC4 or SERVICE1 to SERVICE63", id)
		}
	}
	return nil
}
