package broker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Whoever is refused again and again does not fill the log.
func TestTheServersLogIsBounded(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := &serverLog{log: slog.New(slog.NewTextHandler(&out, nil))}
	now := time.Unix(1000, 0)
	for i := range 1000 {
		l.warn("authentication error", now.Add(time.Duration(i)*time.Millisecond))
	}
	if n := strings.Count(out.String(), "\n"); n != logLines {
		t.Errorf("%d lines in a second; want %d", n, logLines)
	}
	out.Reset()
	l.warn("authentication error", now.Add(logEvery))
	if want := "lines_left_out=980"; !strings.Contains(out.String(), want) {
		t.Errorf("then %q; want %s", out.String(), want)
	}
}
