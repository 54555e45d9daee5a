//go:build linux

package virtualpi

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTailKeepsTheLastLines(t *testing.T) {
	var console strings.Builder
	kept := &tail{to: &console}
	for line := range 100 {
		fmt.Fprintf(kept, "line %d\r\n", line)
	}
	fmt.Fprint(kept, strings.Repeat("x", 2*maxLine), "\nno end")
	lines := strings.Split(kept.String(), "\n")
	got := lines[1:]
	if len(got) != tailLines+1 || got[0] != "line 81" || got[tailLines-1] != strings.Repeat("x", maxLine) || got[tailLines] != "no end" {
		t.Errorf("String = %q", kept)
	}
	if !strings.HasPrefix(console.String(), "line 0\r\nline 1\r\n") || !strings.HasSuffix(console.String(), "\nno end") {
		t.Errorf("passed on %d bytes; want all as they are", console.Len())
	}
	if got := (&tail{}).String(); got != "" {
		t.Errorf("String of nothing = %q; want nothing", got)
	}
}

func TestTailSeesPanic(t *testing.T) {
	panics := 0
	kept := &tail{onPanic: func() { panics++ }}
	for _, part := range []string{"Kernel panic - not syncing: x\n", "[ 1.2] ---[ end Ker", "nel panic - not syncing: x ]---", "\n"} {
		if panics != 0 {
			t.Errorf("panic before %q", part)
		}
		fmt.Fprint(kept, part)
	}
	if panics != 1 {
		t.Errorf("%d panics; want 1", panics)
	}
}

type brokenWriter struct{ writes int }

func (w *brokenWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, errors.New("no space left")
}

func TestTailOutlivesItsConsole(t *testing.T) {
	console := &brokenWriter{}
	kept := &tail{to: console}
	for range 2 {
		if n, err := kept.Write([]byte("a\n")); n != 2 || err != nil {
			t.Errorf("Write = %d, %v; want 2, nil", n, err)
		}
	}
	if console.writes != 1 || kept.err == nil || kept.String() != "; it wrote last:\na\na" {
		t.Errorf("%d writes, error %v, %q; want one, an error, both lines", console.writes, kept.err, kept)
	}
}

func TestStopReason(t *testing.T) {
	tests := []struct{ name, events, want string }{
		{"power-off", `{"QMP": {}} {"return": {}} {"event": "RESUME"} {"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`, "guest-shutdown"},
		{"no event", `{"QMP": {}}`, ""},
		{"not QMP", `hello`, ""},
		{"nothing", ``, ""},
	}
	for _, tt := range tests {
		if got := stopReason(strings.NewReader(tt.events)); got != tt.want {
			t.Errorf("%s: stopReason = %q; want %q", tt.name, got, tt.want)
		}
	}
}
