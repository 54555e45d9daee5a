package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// At most logLines of the NATS server's lines are logged in logEvery, because it logs
// every refused login, and anybody can try as often as he likes.
const (
	logLines = 20
	logEvery = 10 * time.Second
)

// serverLog forwards the NATS server's log to ours.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // why the server did not start

	mu      sync.Mutex
	since   time.Time // of the lines below
	lines   int
	skipped int
}

const fromServer = "nats server"

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug(fromServer, "text", text(format, v))
}
func (l *serverLog) Warnf(format string, v ...any)  { l.warn(text(format, v), time.Now()) }
func (l *serverLog) Errorf(format string, v ...any) { l.warn(text(format, v), time.Now()) }
func (l *serverLog) Debugf(format string, v ...any) { l.log.Debug(fromServer, "text", text(format, v)) }
func (l *serverLog) Tracef(format string, v ...any) { l.log.Debug(fromServer, "text", text(format, v)) }

// warn logs a line, unless there were too many recently. The next line that is logged
// has the number of those left out.
func (l *serverLog) warn(line string, now time.Time) {
	skipped, ok := l.admit(now)
	switch {
	case ok && skipped > 0:
		l.log.Warn(fromServer, "text", line, "lines_left_out", skipped)
	case ok:
		l.log.Warn(fromServer, "text", line)
	}
}

func (l *serverLog) admit(now time.Time) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since).Abs() >= logEvery {
		l.since, l.lines = now, 0
	}
	if l.lines >= logLines {
		l.skipped++
		return 0, false
	}
	l.lines++
	skipped, l.skipped = l.skipped, 0
	return skipped, true
}

// Fatalf must not end the process: the server calls it for a taken port too,
// and returns after it.
func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- text(format, v):
	default:
	}
}

func text(format string, v []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, v...))
}
