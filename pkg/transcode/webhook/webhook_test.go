package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

var secret = []byte("a secret of more than enough bytes")

// patience bounds every wait for what must come.
const patience = time.Minute

// A bench is a sender on a real store and queue, and a server that it tells.
type bench struct {
	*Sender
	t     *testing.T
	queue *queuetest.Queue
}

func open(t *testing.T, dir, url string) *bench {
	t.Helper()
	q := queuetest.Open(t, dir, nil)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &bench{t: t, queue: q, Sender: &Sender{Store: q.Store, URL: url, Secret: secret, Log: log, Backoff: time.Millisecond}}
}

// ended has a job end and returns its number.
func (b *bench) ended(name string) int64 {
	b.t.Helper()
	job := b.submit(name)
	if err := b.queue.Cancel(b.t.Context(), job); err != nil {
		b.t.Fatal(err)
	}
	return job
}

func (b *bench) submit(name string) int64 {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.queue.MediaDir, name), []byte("x"), 0o644); err != nil {
		b.t.Fatal(err)
	}
	job, _, err := b.queue.Submit(b.t.Context(), transcode.Request{Source: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return job.ID
}

// left returns how many deliveries wait.
func (b *bench) left() int {
	b.t.Helper()
	var n int
	if err := b.Store.QueryRow(b.t.Context(), `SELECT count(*) FROM hooks`).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// tries has all deliveries tried once, however long they would have to wait.
func (b *bench) tries() {
	b.t.Helper()
	if err := b.deliverDue(b.t.Context(), time.Now().Add(48*time.Hour)); err != nil {
		b.t.Fatal(err)
	}
}

// serve answers deliveries by f, which is given those that are signed as they
// should be.
func serve(t *testing.T, f func(w http.ResponseWriter, d Delivery)) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var d Delivery
		if err == nil {
			err = json.Unmarshal(body, &d)
		}
		if err != nil || r.Method != http.MethodPost || r.Header.Get(SignatureHeader) != Sign(secret, body) || r.Header.Get(DeliveryHeader) != fmt.Sprint(d.ID) {
			t.Errorf("%s %q, %v, headers %v; want a signed delivery", r.Method, body, err, r.Header)
		}
		f(w, d)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDelivery(t *testing.T) {
	told := make(chan Delivery, 10)
	b := open(t, t.TempDir(), serve(t, func(_ http.ResponseWriter, d Delivery) { told <- d }))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	id := b.submit("film.mp4")
	muxer := queue.LegacyMuxer{MuxID: 1, Host: "10.0.0.5"}
	if _, err := b.queue.ClaimLegacy(t.Context(), muxer, func(transcode.Request) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := b.queue.CompleteLegacy(t.Context(), muxer, id, "m.m3u8"); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-told:
		if d.Job != id || d.State != queue.Done || d.Source != "film.mp4" || d.Name != "film" || d.Output != "film.mp4.hls/m.m3u8" || d.Ended.IsZero() {
			t.Errorf("told %+v; want that job %d is done", d, id)
		}
	case <-time.After(patience):
		t.Fatal("nothing was delivered")
	}
}

// A delivery that is not accepted is tried again, whatever the other server
// replies.
func TestOtherFails(t *testing.T) {
	t.Parallel()
	strayed := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirection was followed") }))
	t.Cleanup(strayed.Close)
	for name, fail := range map[string]func(w http.ResponseWriter){
		"error":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"refusal": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		"redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", strayed.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"moved":   func(w http.ResponseWriter) { w.Header().Set("Location", strayed.URL); w.WriteHeader(http.StatusFound) },
		"garbage": func(w http.ResponseWriter) { hijack(w, "\x00\xff no HTTP\r\n\r\n") },
		"silence": func(w http.ResponseWriter) { hijack(w, "") },
		"headers": func(w http.ResponseWriter) { hijack(w, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 11<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			times := 0
			b := open(t, t.TempDir(), serve(t, func(w http.ResponseWriter, _ Delivery) {
				if times++; times < 3 {
					fail(w)
				}
			}))
			b.ended("a.mp4")
			for try := 1; try <= 3; try++ {
				if b.left() != 1 {
					t.Fatalf("%d deliveries wait before try %d; want 1", b.left(), try)
				}
				b.tries()
			}
			if b.left() != 0 || times != 3 {
				t.Errorf("%d deliveries left after %d tries; want none after 3", b.left(), times)
			}
		})
	}
}

// hijack answers with bytes of its own and closes the connection.
func hijack(w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
}

// One that hangs does not keep others from being told, nor the daemon from its
// end.
func TestOtherHangs(t *testing.T) {
	hang := make(chan struct{})
	told := make(chan int64, 100)
	b := open(t, t.TempDir(), serve(t, func(_ http.ResponseWriter, d Delivery) {
		if d.Source == "slow.mp4" {
			<-hang
			return
		}
		told <- d.Job
	}))
	defer close(hang)
	b.Timeout = 100 * time.Millisecond
	b.ended("slow.mp4")
	fast := b.ended("fast.mp4")
	b.tries()
	if got := <-told; got != fast || b.left() != 1 {
		t.Errorf("job %d was reported, %d wait; want %d, and 1 that waits", got, b.left(), fast)
	}
	b.Timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	cancel()
	select {
	case err := <-ran:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run did not end")
	}
}

// A delivery that was pending when the daemon was killed is made by the next one,
// which keeps counting the tries.
func TestSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, "http://127.0.0.1:1/")
	id := b.ended("a.mp4")
	b.tries()
	b.queue.Close()
	var told []Delivery
	b = open(t, dir, serve(t, func(_ http.ResponseWriter, d Delivery) { told = append(told, d) }))
	due, err := b.due(t.Context(), time.Now().Add(time.Hour))
	if err != nil || len(due) != 1 || due[0].tries != 1 {
		t.Errorf("due = %+v, %v; want one that was tried once", due, err)
	}
	b.tries()
	if len(told) != 1 || told[0].Job != id || told[0].State != queue.Cancelled {
		t.Errorf("told %+v; want that job %d was cancelled", told, id)
	}
}

func TestGivesUp(t *testing.T) {
	b := open(t, t.TempDir(), serve(t, func(w http.ResponseWriter, _ Delivery) { w.WriteHeader(http.StatusTeapot) }))
	b.ended("a.mp4")
	for range maxTries - 1 {
		b.tries()
	}
	if b.left() != 1 {
		t.Fatal("given up too early")
	}
	b.tries()
	if b.left() != 0 {
		t.Errorf("still not given up after %d tries", maxTries)
	}
}

// Where nobody is to be told nothing gathers.
func TestNobodyToTell(t *testing.T) {
	b := open(t, t.TempDir(), "")
	b.ended("a.mp4")
	b.tries()
	if b.left() != 0 {
		t.Errorf("%d deliveries wait for nobody", b.left())
	}
}

func TestBackoff(t *testing.T) {
	var s Sender
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 13: time.Hour, maxTries: time.Hour} {
		if got := s.backoff(tries); got != want {
			t.Errorf("backoff(%d) = %v; want %v", tries, got, want)
		}
	}
}
