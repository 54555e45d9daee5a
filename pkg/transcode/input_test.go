package transcode

import (
	"strings"
	"testing"
)

func TestParseInputOptions(t *testing.T) {
	for text, want := range map[string]Input{
		"":                                    {},
		"-ss 10":                              {From: 10},
		"-ss 1:30 -t 0:00:20.5":               {From: 90, To: 20.5, Long: true},
		"-to 1500ms":                          {To: 1.5},
		"-ss 2s -to 3":                        {From: 2, To: 3},
		"-r 30000/1001":                       {Rate: Rational{30000, 1001}},
		"-framerate 24":                       {Rate: Rational{24, 1}},
		"-fflags +genpts+igndts -hide_banner": {},
		"-err_detect ignore_err -ss 1":        {From: 1},
	} {
		if got, err := ParseInputOptions(strings.Fields(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"a.mp4":                    "no file names",
		"-ss":                      "its value is missing",
		"-ss -1":                   "no value that it may have",
		"-ss 1:60":                 "want 0 s to a day",
		"-ss 90000":                "want 0 s to a day",
		"-t 1 -to 2":               "want -t or -to, once",
		"-t 0":                     "want a later one",
		"-ss 5 -to 5":              "want an end after the beginning",
		"-r 0":                     "frames per second",
		"-f concat":                "the format is found out",
		"-i b.mp4":                 "the source is the video that was handed in",
		"-protocol_whitelist all":  "a source is one file",
		"-itsoffset 3":             "want -af adelay",
		"-probesize 1G":            "all packets of the source are read",
		"-hwaccel cuda":            "each worker chooses its decoder",
		"-filter_complex_script x": "it is not one that pibootd passes on",
		"-err_detect explode":      "no value that it may have",
		"-fflags /etc/passwd":      "no value that it may have",
	} {
		if _, err := ParseInputOptions(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func FuzzParseInputOptions(f *testing.F) {
	for _, text := range []string{"-ss 10 -t 5", "-r 25", "-to 1:2:3.5", "-fflags +genpts", "-i x", "-ss 1e9ms"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := ParseInputOptions(strings.Fields(text))
		if err != nil {
			return
		}
		if !(in.From >= 0 && in.From <= maxSeconds) || !(in.To >= 0 && in.To <= maxSeconds) || in.Rate.Float() > maxOutputRate {
			t.Errorf("%q: %+v is out of range", text, in)
		}
	})
}
