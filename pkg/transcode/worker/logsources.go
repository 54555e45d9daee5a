package worker

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

// Severities of syslog (RFC 5424 §6.2.1).
const (
	severityError   = 3
	severityWarning = 4
	severityNotice  = 5
	severityInfo    = 6
	severityDebug   = 7
)

// kernelProgram is the name of the kernel in the log, as syslog daemons have it.
const kernelProgram = "kernel"

// readJournal reads this boot's journal from where the last run has ended, and what is added
// to it. It returns when journalctl ends.
func (l *logStream) readJournal(ctx context.Context) (err error) {
	const source = "journal"
	args := []string{
		"--boot", "--follow", "--no-pager", "--quiet", "--output=json", "--lines=all",
		"--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_COMM,_TRANSPORT,_SOURCE_MONOTONIC_TIMESTAMP",
	}
	if at := l.startAt(source); at != "" {
		args = append(args, "--after-cursor="+at)
	}
	if l.hasNetconsole() {
		args = append(args, "_TRANSPORT=journal", "_TRANSPORT=stdout", "_TRANSPORT=syslog", "_TRANSPORT=audit", "_TRANSPORT=driver")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	defer func() {
		cancel()
		err = errors.Join(err, cmd.Wait())
	}()
	entries := bufio.NewReaderSize(out, maxEntry)
	for {
		entry, err := readEntry(entries)
		if err != nil {
			return err
		}
		if line, ok := parseEntry(entry); ok {
			if line.source = source; !l.put(ctx, line) {
				return nil
			}
		}
	}
}

// maxEntry bounds an entry of the journal, in bytes. Longer ones are skipped.
const maxEntry = 64 << 10

// readEntry returns the next line that is not too long.
func readEntry(r *bufio.Reader) ([]byte, error) {
	for long := false; ; {
		entry, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
		case err != nil:
			return nil, err
		case long:
			long = false
		default:
			return entry, nil
		}
	}
}

// startAt returns where a source begins to read: after what was sent. What it has put and was
// not sent yet when it failed is sent twice.
func (l *logStream) startAt(source string) string {
	l.at.Lock()
	defer l.at.Unlock()
	return l.positions[source]
}

// parseEntry parses an entry of the journal (systemd.journal-fields(7), in the form of
// journalctl --output=json).
func parseEntry(entry []byte) (logLine, bool) {
	var e struct {
		Cursor    string          `json:"__CURSOR"`
		Monotonic string          `json:"__MONOTONIC_TIMESTAMP"`
		Source    string          `json:"_SOURCE_MONOTONIC_TIMESTAMP"` // of the kernel's lines, which the journal gets later
		Priority  string          `json:"PRIORITY"`
		Name      string          `json:"SYSLOG_IDENTIFIER"`
		Comm      string          `json:"_COMM"`
		Transport string          `json:"_TRANSPORT"`
		Message   json.RawMessage `json:"MESSAGE"`
	}
	if err := json.Unmarshal(entry, &e); err != nil {
		return logLine{}, false
	}
	line := logLine{position: e.Cursor, uptime: uptime(), LogLine: transcode.LogLine{Severity: severityInfo, Program: e.Name, Text: messageText(e.Message)}}
	if severity, err := strconv.Atoi(e.Priority); err == nil {
		line.Severity = severity
	}
	if line.Program == "" {
		line.Program = e.Comm
	}
	if e.Transport == kernelProgram {
		line.Program = kernelProgram
	} else if line.Program == kernelProgram {
		line.Program = "" // whoever says that it is the kernel
	}
	if micros, err := strconv.ParseInt(cmp.Or(e.Source, e.Monotonic), 10, 64); err == nil {
		line.uptime = time.Duration(micros) * time.Microsecond
	}
	return line, line.Text != ""
}

// messageText returns a message, which is a list of bytes if it is no text.
func messageText(message json.RawMessage) string {
	var text string
	if json.Unmarshal(message, &text) == nil {
		return text
	}
	var numbers []uint8
	var list []int
	if json.Unmarshal(message, &list) != nil {
		return "" // too large for journalctl
	}
	for _, n := range list {
		numbers = append(numbers, uint8(n))
	}
	return string(numbers)
}

// readKmsg reads the kernel's log from where the last run has ended.
func (l *logStream) readKmsg(ctx context.Context) error {
	const source = "kmsg"
	open := l.kmsg
	if open == nil {
		open = func(name string) (io.ReadCloser, error) { return os.Open(name) }
	}
	file, err := open(l.path(kmsgFile))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.Close() })
	defer func() {
		if stop() {
			_ = file.Close()
		}
	}()
	sent, err := strconv.ParseUint(l.startAt(source), 10, 64)
	resumed := err == nil
	record := make([]byte, maxEntry)
	for {
		n, err := file.Read(record)
		if errors.Is(err, syscall.EPIPE) {
			continue // records were overwritten before they were read
		}
		if err != nil {
			return err
		}
		line, number, ok := parseKmsg(string(record[:n]))
		if !ok || resumed && number <= sent {
			continue
		}
		if line.source = source; !l.put(ctx, line) {
			return nil
		}
	}
}

// parseKmsg parses a record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg):
//
//	PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,…];TEXT
func parseKmsg(record string) (line logLine, number uint64, ok bool) {
	header, text, ok := strings.Cut(record, ";")
	fields := strings.Split(header, ",")
	if !ok || len(fields) < 3 {
		return logLine{}, 0, false
	}
	priority, err1 := strconv.ParseUint(fields[0], 10, 16)
	number, err2 := strconv.ParseUint(fields[1], 10, 64)
	micros, err3 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return logLine{}, 0, false
	}
	text, _, _ = strings.Cut(text, "\n") // a dictionary of devices follows
	line = logLine{position: fields[1], uptime: time.Duration(micros) * time.Microsecond}
	line.LogLine = transcode.LogLine{Severity: int(priority & 7), Text: text}
	if priority>>3 == 0 {
		line.Program = kernelProgram // others are programs that write to it
	}
	return line, number, text != ""
}

// followFile reads what is added to a file from now on.
func (l *logStream) followFile(ctx context.Context, name string) error {
	file, err := os.Open(l.path(name))
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	l.log().Debug("log followed", "file", name)
	lines := bufio.NewReader(file)
	var part []byte
	for ctx.Err() == nil {
		text, err := lines.ReadSlice('\n')
		part = append(part, text[:min(len(text), maxLogText-min(maxLogText, len(part)))]...)
		switch {
		case err == nil:
			if !l.putText(ctx, string(bytes.TrimRight(part, "\n"))) {
				return nil
			}
			part = part[:0]
		case errors.Is(err, io.EOF):
			if l.replaced(file, name) {
				return nil // and it is opened again
			}
			pause.For(ctx, 2*logWait)
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
	return nil
}

func (l *logStream) putText(ctx context.Context, text string) bool {
	if text == "" || strings.Contains(text, " kernel: ") { // the kernel's log has it
		return true
	}
	return l.put(ctx, logLine{uptime: uptime(), LogLine: transcode.LogLine{Severity: severityNotice, Text: text}})
}

// replaced reports whether a file was rotated away or emptied.
func (l *logStream) replaced(file *os.File, name string) bool {
	is, err1 := file.Stat()
	now, err2 := os.Stat(l.path(name))
	at, err3 := file.Seek(0, io.SeekCurrent)
	return errors.Join(err1, err2, err3) != nil || !os.SameFile(is, now) || is.Size() < at
}

// readOwn sends what this worker itself says.
func (l *logStream) readOwn(ctx context.Context) error {
	for {
		select {
		case line := <-l.Own.waiting():
			if !l.put(ctx, line) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// An OwnLog keeps the last lines that this worker has logged until they are sent. Writing to
// it never blocks.
type OwnLog struct{ lines chan logLine }

// NewOwnLog returns an empty one.
func NewOwnLog() *OwnLog { return &OwnLog{make(chan logLine, logBatch)} }

// Write keeps the lines of text, or drops them if too many wait.
func (o *OwnLog) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		select {
		case o.lines <- logLine{uptime: uptime(), LogLine: transcode.LogLine{Severity: severityOf(line), Program: "pibootd-worker", Text: line}}:
		default:
		}
	}
	return len(text), nil
}

func (o *OwnLog) waiting() <-chan logLine {
	if o == nil {
		return nil
	}
	return o.lines
}

// severityOf returns the severity of a line that slog has written.
func severityOf(text string) int {
	for level, severity := range map[string]int{"ERROR": severityError, "WARN": severityWarning, "DEBUG": severityDebug} {
		if strings.Contains(text, " level="+level+" ") {
			return severity
		}
	}
	return severityInfo
}
