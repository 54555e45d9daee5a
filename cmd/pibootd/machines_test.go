package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"pibootd/pkg/registry"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/web"
)

// pibootd runs a command line and returns what it printed.
func pibootd(t *testing.T, answer string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"pibootd"}, args...), streams{in: strings.NewReader(answer), out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

// hello connects as the worker of that name and sends one hello. The
// connection is closed by the end of the test, or by the daemon.
func hello(t *testing.T, q *queuetest.Queue, name string, h transcode.Hello) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(q.Broker.URL(), nats.UserInfo(name, queuetest.Token), nats.CustomInboxPrefix("_INBOX."+name), nats.MaxReconnects(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	h.Protocol = transcode.Protocol
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := conn.RequestWithContext(ctx, transcode.SubjectHello+"."+name, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestAddWorker(t *testing.T) {
	_, socket := serveQueue(t, t.TempDir())
	code, out, errs := pibootd(t, "", "add-worker", socket, "desk-pc", "--label", "fast", "--label", "office", "--weight", "0.5")
	token := regexp.MustCompile(`(?m)^  token    ([0-9a-f]{64})$`).FindStringSubmatch(out)
	if code != exitDone || token == nil || !strings.Contains(out, "\n  ./pibootd-worker --server 10.0.0.1:8080 --name desk-pc --token-file FILE\n") {
		t.Fatalf("exit %d, %q, %q; want a token and the command to run", code, out, errs)
	}
	code, out, errs = pibootd(t, "", "add-worker", socket, "desk-pc")
	if code != exitFailed || out != "" || !strings.Contains(errs, "registered already") || !strings.Contains(errs, "pibootd remove-worker desk-pc") {
		t.Errorf("added again: exit %d, %q, %q; want it refused, and what to do", code, out, errs)
	}
	code, out, errs = pibootd(t, "", "add-worker", socket, "--json", "laptop")
	var added web.AddedMachine
	if err := json.Unmarshal([]byte(out), &added); code != exitDone || err != nil || added.Name != "laptop" || len(added.Token) != 64 || added.Token == token[1] || added.Server != "10.0.0.1:8080" {
		t.Errorf("exit %d, %+v, %v, %q; want laptop with a token of its own", code, added, err, errs)
	}
	code, out, errs = pibootd(t, "", "list-workers", socket, "--json")
	var machines []web.Machine
	if err := json.Unmarshal([]byte(out), &machines); code != exitDone || err != nil || len(machines) != 2 {
		t.Fatalf("exit %d, %q, %v, %q; want two workers", code, out, err, errs)
	}
	if m := machines[0]; m.Name != "desk-pc" || !slices.Equal(m.Labels, []string{"fast", "office"}) || m.Weight != 0.5 || m.Online || !m.LastSeen.IsZero() {
		t.Errorf("worker %+v; want desk-pc as it was added, never seen", m)
	}
	if strings.Contains(out, token[1]) || strings.Contains(out, added.Token) {
		t.Error("list-workers tells a token")
	}
	for _, args := range []string{"add-worker", "add-worker a b", "add-worker a --weight x", "list-workers a", "remove-worker"} {
		if code, _, errs := pibootd(t, "", append(strings.Fields(args), socket)...); code != exitUsage {
			t.Errorf("%s: exit %d, %q; want %d", args, code, errs, exitUsage)
		}
	}
	for _, edit := range [][2]string{
		{"--weight 0.25", "weight 0.25, labels fast office"}, {"--label slow", "weight 0.25, labels slow"}, {"--no-labels", "weight 0.25, labels none"},
	} {
		code, out, errs := pibootd(t, "", append([]string{"edit-worker", socket, "desk-pc"}, strings.Fields(edit[0])...)...)
		if code != exitDone || out != "desk-pc: "+edit[1]+"\n" {
			t.Errorf("edit-worker %s: exit %d, %q, %q; want %s", edit[0], code, out, errs, edit[1])
		}
	}
	for _, args := range []string{"add-worker A", "add-worker 3333347a", "add-worker a --weight 2", "add-worker a --label B", "remove-worker --yes nobody", "edit-worker desk-pc --weight 2", "edit-worker nobody --no-labels"} {
		if code, _, errs := pibootd(t, "", append(strings.Fields(args), socket)...); code != exitFailed || !strings.Contains(errs, "want") && !strings.Contains(errs, "list-workers") {
			t.Errorf("%s: exit %d, %q; want an error that says what to do", args, code, errs)
		}
	}
}

// The worker of a machine is listed, drained, given jobs and disconnected like a
// board's.
func TestWorkerThatIsNoBoard(t *testing.T) {
	q, socket := serveQueue(t, t.TempDir())
	if code, _, errs := pibootd(t, "", "add-worker", socket, "desk-pc"); code != exitDone {
		t.Fatal(errs)
	}
	_, out, _ := pibootd(t, "", "list-workers", socket)
	if want := "NAME     STATE       MUXID  ENCODERS  DOES  SEEN\ndesk-pc  never seen  -      -         -     never\n"; out != want {
		t.Errorf("before its first hello: %q; want %q", out, want)
	}
	conn := hello(t, q, "desk-pc", transcode.Hello{MuxID: 4, Encoders: []string{"libx264", "h264_nvenc", "libx265"}})
	ended := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(ended) })
	lists := func(state string) {
		t.Helper()
		_, out, _ := pibootd(t, "", "list-workers", socket)
		row := regexp.MustCompile(`\ndesk-pc  ` + state + ` +4 +libx264 \+2 +- +[0-9]+s ago\n$`)
		if !row.MatchString(out) {
			t.Errorf("listed as %q; want it to be %s", out, state)
		}
	}
	lists("online")
	if code, out, errs := pibootd(t, "", "drain", socket, "desk-pc"); code != exitDone || out != "desk-pc accepts no more work\n" {
		t.Errorf("drained: exit %d, %q, %q", code, out, errs)
	}
	lists("online, drained")
	if code, out, errs := pibootd(t, "", "undrain", socket, "desk-pc"); code != exitDone || out != "desk-pc accepts work again\n" {
		t.Errorf("undrained: exit %d, %q, %q", code, out, errs)
	}
	if code, _, errs := pibootd(t, "", "drain", socket, "desk-pc"); code != exitDone {
		t.Errorf("drained again: exit %d, %q", code, errs)
	}
	if code, _, errs := pibootd(t, "", "drain", socket, "nobody"); code != exitFailed || !strings.Contains(errs, "list-workers") {
		t.Errorf("drained nobody: exit %d, %q; want an error that names list-workers", code, errs)
	}
	if code, _, errs := pibootd(t, "", "watch", socket, "--no-follow", "desk-pc"); code != exitDone {
		t.Errorf("watched: exit %d, %q; want %d", code, errs, exitDone)
	}
	const question = "remove desk-pc, whose worker is online? [y/N] "
	if code, _, errs := pibootd(t, "n\n", "remove-worker", socket, "desk-pc"); code != exitFailed || !strings.HasPrefix(errs, question) {
		t.Errorf("not confirmed: exit %d, %q; want %q asked", code, errs, question)
	}
	lists("online, drained")
	if code, out, errs := pibootd(t, "y\n", "remove-worker", socket, "desk-pc"); code != exitDone || out != "desk-pc removed\n" {
		t.Errorf("removed: exit %d, %q, %q", code, out, errs)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("its connection survives its removal")
	}
	if _, out, _ := pibootd(t, "", "list-workers", socket); !strings.HasPrefix(out, "no other machine is registered") {
		t.Errorf("after it was removed: %q", out)
	}
	if code, _, errs := pibootd(t, "", "add-worker", socket, "desk-pc"); code != exitDone {
		t.Fatal(errs)
	}
	if _, out, _ := pibootd(t, "", "list-workers", socket); !strings.Contains(out, "never seen") {
		t.Errorf("another machine of that name is listed as %q; want it never seen", out)
	}
	hello(t, q, "desk-pc", transcode.Hello{MuxID: 4, Encoders: []string{"libx264", "h264_nvenc", "libx265"}})
	lists("online")
}

// The lists fit a terminal, whatever workers report about themselves.
func TestPrintWorkers(t *testing.T) {
	seen := time.Now()
	long := strings.Repeat("a", 63)
	machines := []web.Machine{
		{Machine: registry.Machine{Name: "off"}, LastSeen: seen.Add(-90 * time.Minute)},
		{Machine: registry.Machine{Name: long}, Online: true, LastSeen: seen.Add(-1000 * 24 * time.Hour), Worker: &queue.Worker{
			Hello: transcode.Hello{MuxID: 65535, Locked: "the \x1b[2J" + long, Encoders: slices.Repeat([]string{long}, 1000)},
			Job:   1_000_000_000, Unit: long, FPS: 1e6,
		}},
		{Machine: registry.Machine{Name: "on"}, Online: true, LastSeen: seen, Worker: &queue.Worker{Job: 12, Unit: "v-0003", FPS: 48.2}},
	}
	var out strings.Builder
	if err := printWorkers(&out, machines); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 || strings.Contains(line, "\x1b") {
			t.Errorf("%d columns: %q; want at most 100, fit for a terminal", n, line)
		}
	}
	for _, want := range []string{"offline", "1h ago", "locked: ", "job 12 v-0003 48 fps"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
}

// A job does not wait while another machine is online.
func TestTranscodeKnowsOtherMachines(t *testing.T) {
	q, socket := serveQueue(t, t.TempDir())
	if code, _, errs := pibootd(t, "", "add-worker", socket, "desk-pc", "--label", "fast"); code != exitDone {
		t.Fatal(errs)
	}
	for _, name := range []string{"a.mp4", "b.mp4"} {
		if err := os.WriteFile(filepath.Join(q.MediaDir, name), []byte("the video "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = "no Pi is online yet"
	if code, _, errs := pibootd(t, "", "transcode", socket, "a.mp4"); code != exitDone || !strings.Contains(errs, nobody) {
		t.Errorf("with nobody: exit %d, %q; want %q", code, errs, nobody)
	}
	hello(t, q, "desk-pc", transcode.Hello{})
	if code, _, errs := pibootd(t, "", "transcode", socket, "b.mp4"); code != exitDone || errs != "" {
		t.Errorf("with a machine: exit %d, %q; want nothing said", code, errs)
	}
	for label, want := range map[string]string{"fast": "", "slow": "no Pi has the label slow"} {
		if code, _, errs := pibootd(t, "", "transcode", socket, "b.mp4", "--label", label); code != exitDone || (errs == "") != (want == "") || !strings.Contains(errs, want) {
			t.Errorf("with the label %s: exit %d, %q; want %q said", label, code, errs, want)
		}
	}
	if _, out, errs := pibootd(t, "", "jobs", "show", socket, "2"); strings.Contains(out, "waits") || errs != "" {
		t.Errorf("the job is shown as %q, %q; want it to wait for nobody", out, errs)
	}
}
