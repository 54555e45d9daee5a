package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// shell is a child that runs a script and whose standard output is dropped.
func shell(script string) child {
	return child{name: "sh", args: []string{"-c", script}, stdout: func(io.Reader) error { return nil }}
}

func TestChild(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		child  child
		stderr []string
		want   string
	}{
		{"good", shell("echo fine >&2"), []string{"fine"}, ""},
		{"exit code", shell("echo bad >&2; exit 3"), []string{"bad"}, "sh: exit status 3"},
		{"signal", shell("kill -11 $$"), []string{}, "sh: signal: segmentation fault"},
		{"no such program", child{name: "/nowhere/ffmpeg"}, nil, "starting /nowhere/ffmpeg: fork/exec /nowhere/ffmpeg: no such file or directory"},
		{"nobody reads", child{name: "sh", args: []string{"-c", "sleep 1000"}, stdout: func(io.Reader) error { return errors.New("not progress") }},
			[]string{}, "reading what sh says: not progress"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stderr, err := tt.child.run(t.Context())
			if fmt.Sprint(err) != tt.want && !(tt.want == "" && err == nil) {
				t.Errorf("run = %v; want %s", err, tt.want)
			}
			if !slices.Equal(stderr, tt.stderr) {
				t.Errorf("stderr = %q; want %q", stderr, tt.stderr)
			}
		})
	}
}

// When a child is stopped, so are its own children; and it was polite while it
// ran.
func TestChildStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var child, grandchild, watch int
	var stat []byte
	c := shell("sleep 1000 & echo $$ $!; wait")
	c.stdout = func(r io.Reader) error {
		_, err := fmt.Fscanln(r, &child, &grandchild)
		if err == nil {
			watch, err = unix.PidfdOpen(grandchild, 0)
		}
		if err == nil {
			// Not of the grandchild, which may be forked just when its parent
			// becomes polite.
			stat, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		}
		cancel()
		return err
	}
	if _, err := c.run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("run = %v; want that it was stopped", err)
	}
	defer unix.Close(watch)
	if fields := strings.Fields(string(stat)); len(fields) < 19 || fields[18] != "10" {
		t.Errorf("stat = %s; want a niceness of 10 in field 19", stat)
	}
	// A process's descriptor becomes readable when it ends.
	polled := []unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}
	if n, err := unix.Poll(polled, int(patience.Milliseconds())); n != 1 || err != nil {
		t.Errorf("the grandchild continues: poll = %d, %v", n, err)
	}
}

func TestLastLines(t *testing.T) {
	l := &lastLines{}
	for i := range 30 {
		fmt.Fprintf(l, "line %d\nhalf", i)
	}
	fmt.Fprint(l, strings.Repeat("x", 10000), "\xff")
	got := l.lines()
	if len(got) != stderrLines || got[18] != "halfline 29" || len(got[19]) != stderrLineBytes {
		t.Errorf("lines = %q; want the last %d, none longer than %d", got, stderrLines, stderrLineBytes)
	}
}
