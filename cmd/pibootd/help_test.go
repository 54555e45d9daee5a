package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// helpOf returns what a command prints for --help in a terminal of this width.
func helpOf(t *testing.T, width int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(append(append([]string{"pibootd"}, args...), "--help"), streams{out: &out, err: &errs, width: width})
	if code != exitDone || errs.Len() > 0 {
		t.Errorf("pibootd %q --help: exit %d, %q; want %d and no error", args, code, errs.String(), exitDone)
	}
	return out.String()
}

func TestHelpListsEachCommandInItsCategory(t *testing.T) {
	rest := helpOf(t, 0)
	for _, want := range []string{
		"\nUsage: pibootd COMMAND ",
		"\nBoards:\n  add-pi ", "\n  watch ", "\n  rehearse ",
		"\nTemplates:\n  template ",
		"\nTranscoding:\n  transcode ", "\n  live ", "\n  jobs ", "\n  drain ",
		"\nOther machines:\n  add-worker ", "\n  remove-worker ",
		"\nDaemon:\n  serve ", "\n  doctor ", "\n  config ", "\n  completion ",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Errorf("%q is not in its place; left is\n%s", want, rest)
		}
		rest = "\n" + after
	}
	help := helpOf(t, 0)
	for _, command := range newApp(streams{}).Commands {
		want := 1
		if command.Hidden {
			want = 0
		}
		if n := strings.Count(help, "\n  "+command.Name+" "); n != want {
			t.Errorf("%s is listed %d times; want %d", command.Name, n, want)
		}
	}
}

// The help of every command fits the terminal, describes each flag, and has no
// markup or meaningless defaults.
func TestHelpIsReadable(t *testing.T) {
	for _, width := range []int{0, 60, 100} {
		walk(newApp(streams{}).Commands, "pibootd", func(path string, command *cli.Command) {
			help := helpOf(t, width, strings.Fields(path)[1:]...)
			for line := range strings.Lines(help) {
				if n, most := utf8.RuneCountInString(strings.TrimRight(line, "\n")), (streams{width: width}).helpWidth(); n > most {
					t.Errorf("%s: %d columns, want %d at most: %s", path, n, most, line)
				}
			}
			for _, bad := range []string{"`", "default: false", "default: 0)", `"`, "\t", "OPTIONS:"} {
				if strings.Contains(help, bad) {
					t.Errorf("%s: the help has %q:\n%s", path, bad, help)
				}
			}
			for _, flag := range visibleFlags(command) {
				if flag.GetUsage() == "" || !strings.Contains(help, "--"+flag.(cli.Flag).Names()[0]) {
					t.Errorf("%s: the help does not describe %v", path, flag.(cli.Flag).Names())
				}
			}
		})
	}
}

// A usage line is a phrase that begins with a verb: no heading, no sentence.
func TestUsageLinesArePhrases(t *testing.T) {
	walk(newApp(streams{}).Commands, "pibootd", func(path string, command *cli.Command) {
		if u := command.Usage; u == "" || strings.ToLower(u[:1]) != u[:1] || strings.HasSuffix(u, ".") || strings.ContainsAny(u, ";(") {
			t.Errorf("%s: usage %q; want a phrase in lower case", path, u)
		}
		for _, flag := range visibleFlags(command) {
			if strings.HasPrefix(flag.GetUsage(), "`") || strings.HasSuffix(flag.GetUsage(), ".") {
				t.Errorf("%s: usage %q; want a phrase, not its value first", path, flag.GetUsage())
			}
		}
	})
}

// No two flags of a command differ by one letter at the end, as --segment and
// --segments did.
func TestFlagsAreToldApart(t *testing.T) {
	walk(newApp(streams{}).Commands, "pibootd", func(path string, command *cli.Command) {
		for _, a := range visibleFlags(command) {
			for _, b := range visibleFlags(command) {
				short, long := a.(cli.Flag).Names()[0], b.(cli.Flag).Names()[0]
				if strings.HasPrefix(long, short) && len(long) == len(short)+1 {
					t.Errorf("%s: --%s and --%s differ by one letter", path, short, long)
				}
			}
		}
	})
}

// The old spelling of --segment-length works and is hidden.
func TestOldSpellingOfSegmentLength(t *testing.T) {
	q, socket := serveQueue(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(q.MediaDir, "a.mp4"), []byte("the video"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		args []string
		want float64
	}{
		{nil, 4},
		{[]string{"--segment", "2"}, 2},
		{[]string{"--segment-length", "3"}, 3},
		{[]string{"--segment", "2", "--segment-length", "5"}, 5},
	} {
		code, out, errs := pibootd(t, "", append([]string{"transcode", socket, "a.mp4"}, test.args...)...)
		jobs, err := q.Jobs(t.Context())
		if code != exitDone || err != nil || len(jobs) != i+1 || jobs[0].Request.SegmentSeconds != test.want {
			t.Errorf("%q: exit %d, %q, %q, jobs %+v, %v; want segments of %v s", test.args, code, out, errs, jobs, err, test.want)
		}
	}
	if help := helpOf(t, 0, "transcode"); strings.Contains(help, "--segment ") || !strings.Contains(help, "--segment-length ") {
		t.Errorf("help has the old spelling, or not the new one:\n%s", help)
	}
	if offered := completed(t, "transcode", "--seg"); strings.Contains(offered, "--segment\n") || !strings.Contains(offered, "--segment-length\n") {
		t.Errorf("completion of --seg = %q; want the new spelling only", offered)
	}
}

// completed returns the words that a shell offers after these.
func completed(t *testing.T, words ...string) string {
	t.Helper()
	old := os.Args // the library looks there for the last word
	t.Cleanup(func() { os.Args = old })
	os.Args = append(append([]string{"pibootd"}, words...), "--generate-bash-completion")
	var out bytes.Buffer
	if code := run(os.Args, streams{out: &out, err: &out}); code != exitDone {
		t.Errorf("completing %q: exit %d, %q", words, code, out.String())
	}
	return out.String()
}

func TestCompletion(t *testing.T) {
	for _, test := range []struct{ words, want string }{
		{"", "add-pi\n"},
		{"template", "from-pi\n"},
		{"template import --auth", "--authorized-keys\n"},
		{"add-pi --se", "--serial\n"},
		{"completion", "bash\nzsh\n"},
	} {
		if got := completed(t, strings.Fields(test.words)...); !strings.Contains(got, test.want) {
			t.Errorf("completing %q offers %q; want %q among it", test.words, got, test.want)
		}
	}
}

func TestWrapText(t *testing.T) {
	for _, test := range []struct {
		text              string
		used, hang, width int
		want              string
	}{
		{"", 0, 0, 10, ""},
		{"one two", 0, 0, 7, "one two"},
		{"one two three", 0, 2, 8, "one two\n  three"},
		{"one two", 5, 5, 10, "one\n     two"},
		{"averylongword two", 0, 1, 4, "averylongword\n two"},
		{"a b\nc", 0, 1, 10, "a b\nc"},
	} {
		if got := wrapText(test.text, test.used, test.hang, test.width); got != test.want {
			t.Errorf("wrapText(%q, %d, %d, %d) = %q; want %q", test.text, test.used, test.hang, test.width, got, test.want)
		}
	}
}
