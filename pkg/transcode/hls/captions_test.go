package hls

import (
	"strings"
	"testing"
)

func TestCheckCaptions(t *testing.T) {
	const first = `TYPE=CLOSED-CAPTIONS,GROUP-ID="captions",NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,INSTREAM-ID="CC1"`
	for _, tt := range []struct {
		name     string
		media    []string
		variants []string // values of CLOSED-CAPTIONS; "" is none
		want     string   // part of the error; "": none
	}{
		{"none", nil, []string{"", ""}, ""},
		{"none, and said so", nil, []string{"NONE", "NONE"}, ""},
		{"none of some only", nil, []string{"NONE", ""}, "want it of all"},
		{"none in spite of some", []string{first}, []string{"NONE"}, "want it of all"},
		{"some of one variant stream", []string{first}, []string{`"captions"`, ""}, ""},
		{"no group", nil, []string{`"captions"`}, "want the same"},
		{"a group of nobody", []string{first}, []string{""}, "want the same"},
		{"a service", []string{strings.Replace(first, "CC1", "SERVICE63", 1)}, []string{`"captions"`}, ""},
		{"no such channel", []string{strings.Replace(first, "CC1", "CC5", 1)}, nil, "want GROUP-ID, NAME and INSTREAM-ID"},
		{"with a URI", []string{first + `,URI="a.m3u8"`}, nil, "no URI"},
		{"one channel twice", []string{first, strings.Replace(first, "English", "Other", 1)}, nil, "that no other of its group has"},
	} {
		m := &masterFile{}
		var err error
		for _, value := range tt.media {
			if err == nil {
				err = m.parseMedia(value)
			}
		}
		for _, captions := range tt.variants {
			value := `BANDWIDTH=2,AVERAGE-BANDWIDTH=1,CODECS="avc1.4d400d",RESOLUTION=320x180,FRAME-RATE=25.000`
			if captions != "" {
				value += ",CLOSED-CAPTIONS=" + captions
			}
			if err == nil {
				err = m.parseVariant(value, "180p/index.m3u8")
			}
		}
		if err == nil {
			err = m.checkCaptions()
		}
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}
