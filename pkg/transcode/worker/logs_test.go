package worker

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/transcode"
)

// logged returns the lines that arrive, until one has this text.
func logged(t *testing.T, q *testQueue, text string) (lines []transcode.LogLine) {
	t.Helper()
	for {
		lines = append(lines, wait(t, "log with "+text, q.logs).Lines...)
		if last := lines[len(lines)-1]; strings.Contains(last.Text, text) {
			return lines
		}
	}
}

func texts(lines []transcode.LogLine) (list []string) {
	for _, line := range lines {
		list = append(list, fmt.Sprintf("%d %s %s", line.Severity, line.Program, strings.TrimSpace(line.Text)))
	}
	return list
}

func equalTexts(t *testing.T, lines []transcode.LogLine, want ...string) {
	t.Helper()
	if got := texts(lines); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("sent: %q; want %q", got, want)
	}
}

// logRoot makes the root of a board with these files.
func logRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files["run/x"] = ""
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// journalctl prints entries as the real one does, or those after the cursor that it is given,
// and waits for more.
const journalctl = `#!/bin/sh
for arg; do case "$arg" in --after-cursor=*) after="${arg#*=}" ;; esac; done
[ -n "$after" ] || cat <<'EOF'
{"__CURSOR":"s=1;i=1","__REALTIME_TIMESTAMP":"1","__MONOTONIC_TIMESTAMP":"9000000000000000","_SOURCE_MONOTONIC_TIMESTAMP":"0","_TRANSPORT":"kernel","PRIORITY":"5","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"Booting Linux on physical CPU 0x0"}
{"__CURSOR":"s=1;i=2","__MONOTONIC_TIMESTAMP":"2000","_TRANSPORT":"journal","PRIORITY":"4","_COMM":"odd","MESSAGE":[104,195,188,10]}
{"__CURSOR":"s=1;i=3","__MONOTONIC_TIMESTAMP":"3000","_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"Kernel panic, says a user"}
{"__CURSOR":"s=1;i=4","MESSAGE":null}
rubbish
EOF
echo '{"__CURSOR":"s=1;i=5","__MONOTONIC_TIMESTAMP":"4000","_TRANSPORT":"syslog","PRIORITY":"3","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"after '"$after"'"}'
exec sleep 1000
`

// Under systemd the journal is sent from the start of the boot, and by a worker that is
// started again from where it was.
func TestJournalIsSent(t *testing.T) {
	q := newTestQueue(t)
	q.start()
	t.Setenv("PATH", logRoot(t, map[string]string{"journalctl": journalctl})+":"+os.Getenv("PATH"))
	root := logRoot(t, map[string]string{"run/systemd/system/x": ""})
	r := runWorker(t, q, "", func(w *Worker) { w.LogRoot = root })
	lines := logged(t, q, "after ")
	equalTexts(t, lines, "5 kernel Booting Linux on physical CPU 0x0", "4 odd hü", "6  Kernel panic, says a user", "3 sshd after")
	for _, line := range lines {
		if line.AgeMS <= 0 {
			t.Errorf("%+v has no age", line)
		}
	}
	r.waitLog(t, "log sent")
	r.end()
	if err := wait(t, "end", r.ended); err != nil {
		t.Error(err)
	}
	runWorker(t, q, "", func(w *Worker) { w.LogRoot = root })
	equalTexts(t, logged(t, q, "after s=1;i=5"), "3 sshd after s=1;i=5")
}

// Without systemd the kernel's log is sent, and what the worker says.
func TestKernelLogIsSent(t *testing.T) {
	q := newTestQueue(t)
	q.start()
	kmsg, records := recordSocket(t)
	own := NewOwnLog()
	runWorker(t, q, "", func(w *Worker) {
		w.LogRoot, w.Own = logRoot(t, map[string]string{}), own
		w.kmsg = func(string) (io.ReadCloser, error) { return kmsg, nil }
	})
	for _, record := range []string{"6,1,1000,-;Booting Linux\n SUBSYSTEM=cpu\n", "rubbish", "12,2,2000,-;by a program", "4,3,3000,c;under-voltage"} {
		if _, err := records.Write([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	equalTexts(t, logged(t, q, "under-voltage"), "6 kernel Booting Linux", "4  by a program", "4 kernel under-voltage")
	slog.New(slog.NewTextHandler(own, nil)).Warn("what the worker says")
	if got := texts(logged(t, q, "what the worker says")); !strings.HasPrefix(got[0], "4 pibootd-worker time=") {
		t.Errorf("sent: %q; want the worker's warning", got)
	}
}

// A kernel that sends its log by netconsole is not sent twice.
func TestNetconsoleIsNotSentTwice(t *testing.T) {
	for args, want := range map[string]bool{"quiet netconsole=+6665@10.0.0.2/eth0,6666@10.0.0.1/": true, "quiet": false} {
		root := logRoot(t, map[string]string{cmdlineFile: args, netconsole + "/refcnt": "0"})
		l := logStream{session: &session{Worker: &Worker{LogRoot: root}}}
		if got := l.hasNetconsole(); got != want {
			t.Errorf("hasNetconsole with %q = %t; want %t", args, got, want)
		}
	}
}

// recordSocket returns what is read record by record, as /dev/kmsg is, and its other end.
func recordSocket(t *testing.T) (read, write *os.File) {
	t.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	read, write = os.NewFile(uintptr(ends[0]), "kmsg"), os.NewFile(uintptr(ends[1]), "records")
	t.Cleanup(func() { _ = read.Close(); _ = write.Close() })
	return read, write
}

// What is added to a log file is followed, also when the file is rotated.
func TestLogFilesAreFollowed(t *testing.T) {
	q := newTestQueue(t)
	q.start()
	root := logRoot(t, map[string]string{"var/log/messages": "old\n"})
	file := filepath.Join(root, "var/log/messages")
	r := runWorker(t, q, "", func(w *Worker) { w.LogRoot = root })
	r.waitLog(t, "log followed")
	appendText(t, file, "Nov 30 08:43:25 pi kernel: twice\nNov 30 08:43:25 pi sshd: one\n")
	equalTexts(t, logged(t, q, "one"), "5  Nov 30 08:43:25 pi sshd: one")
	if err := os.Rename(file, file+".0"); err != nil {
		t.Fatal(err)
	}
	appendText(t, file, "")
	r.waitLog(t, "log followed")
	appendText(t, file, "two\n")
	equalTexts(t, logged(t, q, "two"), "5  two")
}

func appendText(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Messages of lines whose characters take six bytes each are accepted by the queue.
func TestLogMessagesAreSmall(t *testing.T) {
	l := logStream{session: &session{Worker: &Worker{}}, lines: make(chan logLine, logBatch)}
	for range logBatch {
		l.put(t.Context(), logLine{LogLine: transcode.LogLine{Text: strings.Repeat("<", 2*maxLogText)}})
	}
	size := 0
	for _, line := range l.gather(t.Context()) {
		size += encodedSize(line)
	}
	if size > 60<<10 || size < logBatchBytes {
		t.Errorf("a message has %d bytes; want %d to %d", size, logBatchBytes, 60<<10)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"__CURSOR":"s","__MONOTONIC_TIMESTAMP":"1","_TRANSPORT":"kernel","PRIORITY":"5","MESSAGE":"x"}`), "6,1,1000,-;x\n A=b")
	f.Add([]byte(`{"MESSAGE":[104,300,-1]}`), "12,2,99999999999999999999,-;")
	f.Fuzz(func(t *testing.T, entry []byte, record string) {
		if line, ok := parseEntry(entry); ok && line.Text == "" {
			t.Errorf("%q is a line without text", entry)
		}
		if line, number, ok := parseKmsg(record); ok && (line.Severity < 0 || line.Severity > severityDebug || fmt.Sprint(number) == "") {
			t.Errorf("%q = %+v", record, line)
		}
	})
}
