package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

// A logLine is a line of this board's log on its way to the daemon.
type logLine struct {
	transcode.LogLine
	uptime   time.Duration // of the board, when it was logged
	source   string        // whose position it is
	position string        // where its source continues after it; "" if it does not say
}

const (
	// logBatch is how many lines go in one message, logBatchBytes how many bytes before the
	// last line, which has 12 kB at most. The queue accepts 64 kB.
	logBatch      = 200
	logBatchBytes = 40 << 10
	// logWait is how long a line waits for others.
	logWait = 500 * time.Millisecond
	// logRetries is how many of the usual pauses come before a source that has failed, or
	// was replaced, is read again: ten seconds.
	logRetries = 20
	// maxLogText bounds a line, in bytes.
	maxLogText = 2048
)

// Paths on a board.
const (
	bootedDir    = "run/systemd/system"        // is there if systemd is the init: sd_booted(3)
	kmsgFile     = "dev/kmsg"                  // the kernel's log
	positionFile = "run/pibootd-worker.logged" // what was sent since the board has started
	cmdlineFile  = "proc/cmdline"
	netconsole   = "sys/module/netconsole"
)

// logFiles are where syslog daemons write without systemd.
func logFiles() []string { return []string{"var/log/messages", "var/log/syslog"} }

// A logStream sends a board's log to the daemon. Its sources block while the daemon does not
// answer, and continue where they were.
type logStream struct {
	*session
	lines chan logLine

	at        sync.Mutex
	positions map[string]string // by source; what was sent
}

// streamLogs sends the board's log until ctx ends, if the daemon wants it.
func (s *session) streamLogs(ctx context.Context) {
	if s.LogRoot == "" {
		return
	}
	for !s.reply.Load().Logs {
		if !pause.For(ctx, s.retryAfter()) {
			return
		}
	}
	l := &logStream{session: s, lines: make(chan logLine, logBatch), positions: map[string]string{}}
	l.load()
	var reading sync.WaitGroup
	defer reading.Wait()
	for _, read := range l.sources() {
		reading.Go(func() { l.keepReading(ctx, read) })
	}
	l.send(ctx)
}

// sources returns what has this board's log.
func (l *logStream) sources() []func(context.Context) error {
	if _, err := os.Stat(l.path(bootedDir)); err == nil {
		return []func(context.Context) error{l.readJournal}
	}
	sources := []func(context.Context) error{l.readOwn}
	if !l.hasNetconsole() {
		sources = append(sources, l.readKmsg)
	}
	for _, name := range logFiles() {
		sources = append(sources, func(ctx context.Context) error { return l.followFile(ctx, name) })
	}
	return sources
}

// hasNetconsole reports whether the kernel sends its log itself, so that its lines need not
// be sent twice.
func (l *logStream) hasNetconsole() bool {
	args, err := os.ReadFile(l.path(cmdlineFile))
	_, loaded := os.Stat(l.path(netconsole))
	return err == nil && loaded == nil && strings.Contains(string(args), " netconsole=")
}

func (l *logStream) path(name string) string { return filepath.Join(l.LogRoot, name) }

// keepReading reads a source again when it has failed, until ctx ends.
func (l *logStream) keepReading(ctx context.Context, read func(context.Context) error) {
	for ctx.Err() == nil {
		if err := read(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrNotExist) {
			l.log().Debug("log not read", "err", err)
		}
		pause.For(ctx, logRetries*l.retryAfter())
	}
}

// put hands a line to send. It returns false when ctx ends.
func (l *logStream) put(ctx context.Context, line logLine) bool {
	line.Text = strings.ToValidUTF8(line.Text[:min(len(line.Text), maxLogText)], "?")
	select {
	case l.lines <- line:
		return true
	case <-ctx.Done():
		return false
	}
}

// send sends lines, many in a message, until ctx ends.
func (l *logStream) send(ctx context.Context) {
	for ctx.Err() == nil {
		batch := l.gather(ctx)
		if len(batch) == 0 {
			continue
		}
		var message transcode.Logs
		now := uptime()
		for _, line := range batch {
			line.AgeMS = max(0, now-line.uptime).Milliseconds()
			message.Lines = append(message.Lines, line.LogLine)
		}
		if _, err := request[transcode.Verdict](ctx, l.session, transcode.SubjectLogs, message); err != nil {
			return // ctx has ended
		}
		l.sent(batch)
		l.log().Debug("log sent", "lines", len(batch))
	}
}

// sent notes and stores that lines were sent.
func (l *logStream) sent(batch []logLine) {
	l.at.Lock()
	defer l.at.Unlock()
	for _, line := range batch {
		if line.position != "" {
			l.positions[line.source] = line.position
		}
	}
	l.saveLocked()
}

// gather returns the next lines, some of which may still come within logWait.
func (l *logStream) gather(ctx context.Context) []logLine {
	var batch []logLine
	size := 0
	var late <-chan time.Time
	for len(batch) < logBatch && size < logBatchBytes {
		select {
		case line := <-l.lines:
			batch = append(batch, line)
			size += encodedSize(line)
			if late == nil {
				late = time.After(logWait)
			}
		case <-late:
			return batch
		case <-ctx.Done():
			return nil
		}
	}
	return batch
}

// encodedSize returns the size of a line in a message, in which some characters take six bytes.
func encodedSize(line logLine) int {
	text, err := json.Marshal(line.LogLine)
	if err != nil {
		return 0 // text and numbers can always be encoded
	}
	return len(text) + 1
}

// load reads what earlier runs have sent, so that a worker that is started again does not
// send it twice.
func (l *logStream) load() {
	text, err := os.ReadFile(l.path(positionFile))
	if err != nil {
		return // the board has just started
	}
	if err := json.Unmarshal(text, &l.positions); err != nil {
		l.positions = map[string]string{}
	}
}

// saveLocked writes what was sent. If that fails, lines are sent twice after the next start.
func (l *logStream) saveLocked() {
	text, err := json.Marshal(l.positions)
	if err == nil {
		err = os.WriteFile(l.path(positionFile), text, 0o600)
	}
	if err != nil {
		l.log().Debug("position in the log not saved", "err", err)
	}
}

// uptime returns how long the kernel has run, by the clock of its log.
func uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // no line has an age then
	}
	return time.Duration(now.Nano())
}
