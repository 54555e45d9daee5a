package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func TestFlagsFirst(t *testing.T) {
	for in, want := range map[string]string{
		"pibootd":                                             "pibootd",
		"pibootd version --json":                              "pibootd version --json",
		"pibootd show-pi hlspi1 --help":                       "pibootd show-pi --help",
		"pibootd template build minimal -h --name x":          "pibootd template build --help",
		"pibootd add-pi --name --help x":                      "pibootd add-pi --name --help -- x",
		"pibootd show-pi -- --help":                           "pibootd show-pi -- --help",
		"pibootd show-pi hlspi1 --json":                       "pibootd show-pi --json -- hlspi1",
		"pibootd show-pi --state-dir /x hlspi1 --json":        "pibootd show-pi --state-dir /x --json -- hlspi1",
		"pibootd transcode a.mp4 --name b --wait":             "pibootd transcode --name b --wait -- a.mp4",
		"pibootd transcode a.mp4 --name=b --wait":             "pibootd transcode --name=b --wait -- a.mp4",
		"pibootd transcode --wait -- --name":                  "pibootd transcode --wait -- --name",
		"pibootd transcode a.mp4 --mp4 -- -c:v mpeg4 -b:v 1M": "pibootd transcode --mp4 -- a.mp4 -c:v mpeg4 -b:v 1M",
		"pibootd jobs cancel 3 --json":                        "pibootd jobs cancel --json -- 3",
		"pibootd remove-pi hlspi1 -y --keep-root":             "pibootd remove-pi -y --keep-root -- hlspi1",
		"pibootd no-such-command x --y":                       "pibootd --y -- no-such-command x",
		"pibootd transcode --name":                            "pibootd transcode --name",
		"pibootd show-pi hlspi1 --generate-bash-completion":   "pibootd show-pi hlspi1 --generate-bash-completion",
	} {
		got := flagsFirst(newApp(streams{}), strings.Fields(in))
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("flagsFirst(%s) (-want +got):\n%s", in, diff)
		}
	}
}

func TestExitCodes(t *testing.T) {
	nowhere := "--state-dir=" + t.TempDir()
	for _, test := range []struct {
		args string
		code int
		err  string // begins standard error
	}{
		{"version", exitDone, ""},
		{"config example", exitDone, ""},
		{"completion bash", exitDone, ""},
		{"no-such-command", exitUsage, `pibootd: no command "no-such-command"` + "\nhint: pibootd --help\n"},
		{"template frobnicate", exitUsage, `pibootd: no command "frobnicate"`},
		{"version --frobnicate", exitUsage, "pibootd: flag provided but not defined: -frobnicate\nhint: pibootd version --help\n"},
		{"version too much", exitUsage, `pibootd: got 2 arguments ["too" "much"]; want no arguments` + "\nhint: "},
		{"transcode a.mp4 --codec vp9", exitUsage, `pibootd: codec "vp9"; want h264, h265 or av1` + "\nhint: pibootd transcode --help\n"},
		{"transcode a.mp4 --name ../b", exitUsage, `pibootd: name "../b" cannot name a directory; want 1 to 200 bytes`},
		{"transcode a.mp4 --label Fast", exitUsage, `pibootd: label "Fast"; want 1 to 63 of a-z, 0-9 and -, neither first nor last a -` + "\nhint: "},
		{"transcode a.mp4 --mp4 --mkv", exitUsage, "pibootd: --mp4 and --mkv; want one of them\n"},
		{"transcode a.mp4 --rung tall", exitUsage, `pibootd: --rung: rung "tall"; want lines, WIDTHxHEIGHT or source, and perhaps a bitrate, e.g. 720:2500k`},
		{"transcode a.mp4 --rung 720,480", exitUsage, `pibootd: --rung: rung "720,480"; want`},
		{"transcode a.mp4 --mp4 -- -i /etc/passwd", exitUsage, "pibootd: ffmpeg option -i: a source is given once, before the options\n"},
		{"serve", exitUsage, "pibootd: no interface given\nhint: "},
		{"add-pi --mac nonsense --serial 3333347a", exitUsage, `pibootd: --mac: pi: "nonsense" is not an Ethernet address; want six hex bytes`},
		{"add-pi --mac b8:27:eb:33:34:7a --serial xyz", exitUsage, `pibootd: --serial: pi: "xyz" is not a serial number`},
		{"add-pi --mac b8:27:eb:33:34:7a --serial 3333347a --ip 999", exitUsage, `pibootd: --ip: got "999"; want an IPv4 address`},
		{"add-pi --mac b8:27:eb:33:34:7a --serial 3333347a --shared --clone copy", exitUsage, "pibootd: --shared with --clone copy, which gives the root files of its own; want one of them\nhint: "},
		{"reset-pi hlspi1 --shared --clone reflink", exitUsage, "pibootd: --shared with --clone reflink, which"},
		{"upgrade-pi hlspi1 --to muxer --shared --clone copy", exitUsage, "pibootd: --shared with --clone copy, which"},
		{"add-pi --mac b8:27:eb:33:34:7a --serial 3333347a --shared --clone overlay " + nowhere, exitFailed, "pibootd: pibootd does not answer at "},
		{"upgrade-pi hlspi1 --to muxer --clone magic", exitUsage, `pibootd: --clone: rootfs: "magic" is not a clone method; want one of auto`},
		{"edit-pi hlspi1", exitUsage, "pibootd: no setting to change was given\nhint: pibootd edit-pi --help\n"},
		{"edit-pi hlspi1 --arg quiet --no-args", exitUsage, "pibootd: --arg and --no-args exclude each other\n"},
		{"edit-pi hlspi1 --ip 999", exitUsage, `pibootd: --ip: got "999"; want an IPv4 address`},
		{"edit-pi --muxid 3", exitUsage, "pibootd: got 0 arguments []; want [PI]\nhint: "},
		{"approve-pi", exitUsage, "pibootd: got 0 arguments []; want [SERIAL|ADDRESS]\nhint: "},
		{"edit-pi hlspi1 --muxid 3 " + nowhere, exitFailed, "pibootd: pibootd does not answer at "},
		{"approve-pi 3333347a " + nowhere, exitFailed, "pibootd: pibootd does not answer at "},
		{"transcode", exitUsage, "pibootd: no video given\nhint: pibootd transcode --help"},
		{"transcode -- -c:v mpeg4", exitUsage, "pibootd: no video given\n"},
		{"transcode a.mp4 --hls --mp4 b.mp4", exitUsage, "pibootd: --hls and --mp4; want one of them\n"},
		{"transcode a.mp4 --name x b.mp4", exitUsage, `pibootd: --name names the output of one video; got 2 videos ["a.mp4" "b.mp4"]`},
		{"edit-worker pc1", exitUsage, "pibootd: no setting to change was given\nhint: "},
		{"edit-worker pc1 --label a --no-labels", exitUsage, "pibootd: --label and --no-labels exclude each other\n"},
		{"jobs show x", exitUsage, `pibootd: got job "x"; want its number`},
		{"completion fish", exitUsage, `pibootd: no completion for "fish"; want bash or zsh`},
		{"list-pis " + nowhere, exitFailed, "pibootd: pibootd does not answer at "},
		{"config check /no/such/file", exitFailed, "pibootd: "},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"pibootd"}, strings.Fields(test.args)...), streams{in: strings.NewReader(""), out: &out, err: &errs})
		if code != test.code || !strings.HasPrefix(errs.String(), test.err) || test.err == "" && errs.Len() > 0 {
			t.Errorf("pibootd %s: exit %d, %q; want %d, %q", test.args, code, errs.String(), test.code, test.err)
		}
		if test.err == "" && out.Len() == 0 {
			t.Errorf("pibootd %s printed nothing", test.args)
		}
	}
}

func TestServeRefusesInOneLine(t *testing.T) {
	for args, want := range map[string]string{
		"serve --interface nosuch0 --state-dir " + t.TempDir(): `pibootd: interface "nosuch0": `,
		"serve --interface lo --config /no/such/file":          "pibootd: ",
	} {
		var errs bytes.Buffer
		code := run(append([]string{"pibootd"}, strings.Fields(args)...), streams{err: &errs})
		if code != exitFailed || !strings.HasPrefix(errs.String(), want) || strings.Count(errs.String(), "\n") > 2 {
			t.Errorf("pibootd %s: exit %d, %q; want %d and %q in a line and a hint", args, code, errs.String(), exitFailed, want)
		}
	}
}

// The help of a flag names at most one default.
func TestFlagsHaveOneDefault(t *testing.T) {
	walk(newApp(streams{}).Commands, "pibootd", func(path string, command *cli.Command) {
		for _, flag := range visibleFlags(command) {
			if text := flagText(flag); strings.Count(text, "default: ") > 1 {
				t.Errorf("%s: %s", path, text)
			}
		}
	})
}
