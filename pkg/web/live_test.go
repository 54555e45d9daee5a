package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// A follower of the live stream applies what it gets, as the dashboard does.
type liveFollower struct {
	t     *testing.T
	lines *bufio.Scanner
	end   func()
	state map[string]any
	id    string
	names []string // of the events that it got
	bytes int
}

func (d daemon) followLive(t *testing.T, after string) *liveFollower {
	t.Helper()
	return followLive(t, "http://"+d.public, after)
}

func followLive(t *testing.T, url, after string) *liveFollower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("live: %s, %q", response.Status, kind)
	}
	f := &liveFollower{t: t, lines: bufio.NewScanner(response.Body), state: map[string]any{}}
	f.lines.Buffer(nil, 64<<20)
	f.end = func() { cancel(); _ = response.Body.Close() }
	t.Cleanup(f.end)
	return f
}

// next waits for an event and applies it.
func (f *liveFollower) next() {
	f.t.Helper()
	name := ""
	for f.lines.Scan() {
		line := f.lines.Text()
		f.bytes += len(line) + 1
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "id":
			f.id = value
		case "event":
			name = value
		case "data":
			var patch map[string]any
			if err := json.Unmarshal([]byte(value), &patch); err != nil {
				f.t.Fatal(err)
			}
			if name == "snapshot" {
				f.state = map[string]any{}
			}
			f.state = applyPatch(f.state, patch)
			f.names = append(f.names, name)
			return
		}
	}
	f.t.Fatalf("the stream ended: %v", f.lines.Err())
}

// until follows until ok.
func (f *liveFollower) until(ok func(state map[string]any) bool) {
	f.t.Helper()
	for !ok(f.state) {
		f.next()
	}
}

// applyPatch follows RFC 7396 §2.
func applyPatch(target any, patch map[string]any) map[string]any {
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(object, name)
		case map[string]any:
			object[name] = applyPatch(object[name], value)
		default:
			object[name] = value
		}
	}
	return object
}

func at(state map[string]any, path ...string) any {
	var value any = state
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

// Who follows sees each change, and who comes later sees the same state. Whoever comes
// back with the id of the last event gets what it has missed and no more.
func TestLive(t *testing.T) {
	d := start(t)
	ctx := t.Context()
	f := d.followLive(t, "")
	f.until(func(s map[string]any) bool {
		return at(s, "boards", "3333347a", "name") == "hlspi1" && at(s, "system") != nil
	})
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	submitted, err := d.client.Submit(ctx, transcode.Request{Source: "a.mp4"}, false)
	if err != nil || submitted.Job.ID != 1 {
		t.Fatal(submitted, err)
	}
	f.until(func(s map[string]any) bool { return at(s, "jobs", "1", "state") == "queued" })
	if got := at(f.state, "jobs", "1", "units", "0", "id"); got != "probe" {
		t.Errorf("the job's first unit is %v; want the probe", got)
	}
	before := f.id
	high := queue.High
	if _, err := d.client.ChangeJob(ctx, 1, queue.Change{Priority: &high}); err != nil {
		t.Fatal(err)
	}
	f.until(func(s map[string]any) bool { return at(s, "jobs", "1", "priority") == "hi" })
	again := d.followLive(t, before)
	again.next()
	if want := map[string]any{"jobs": map[string]any{"1": map[string]any{"priority": "hi"}}}; !reflect.DeepEqual(again.state, want) || again.names[0] != "change" {
		t.Errorf("after %s came %s %v; want only what was missed, %v", before, again.names, again.state, want)
	}
	for _, id := range []string{"otherone-1", "x", before + "9999"} {
		fresh := d.followLive(t, id)
		if fresh.next(); fresh.names[0] != "snapshot" || !reflect.DeepEqual(fresh.state, f.state) {
			t.Errorf("after id %s came %q %v; want a snapshot of %v", id, fresh.names, fresh.state, f.state)
		}
	}
	if _, err := d.client.CancelJob(ctx, 1); err != nil {
		t.Fatal(err)
	}
	f.until(func(s map[string]any) bool { return at(s, "jobs", "1", "state") == "cancelled" })
	if _, err := d.client.RemoveJob(ctx, 1); err != nil {
		t.Fatal(err)
	}
	f.until(func(s map[string]any) bool { return at(s, "jobs", "1") == nil })
}

// What happened while nobody followed is there for the next who does.
func TestLiveIsFreshAfterAPause(t *testing.T) {
	d := start(t)
	first := d.followLive(t, "")
	first.next()
	first.end()
	write(t, filepath.Join(d.media, "mp4/film.mp4"), "a video")
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	if _, err := d.client.Submit(t.Context(), transcode.Request{Source: "a.mp4"}, false); err != nil {
		t.Fatal(err)
	}
	second := d.followLive(t, first.id)
	second.until(func(s map[string]any) bool { return at(s, "jobs", "1") != nil })
}

func TestLiveEvents(t *testing.T) {
	var server *Server
	d := startWith(t, func(s *Server, _ *Listeners) { server = s })
	f := d.followLive(t, "")
	f.until(func(s map[string]any) bool { return at(s, "boards", "3333347a", "last", "kind") == "discover" })
	server.Timeline.(*timeline.Log).Record(timeline.Event{Board: "3333347a", Kind: timeline.Ack})
	f.until(func(s map[string]any) bool { return at(s, "boards", "3333347a", "last", "kind") == "ack" })
	server.Timeline.(*timeline.Log).Record(timeline.Event{Board: "3333347a", Kind: timeline.Stranger})
	server.Timeline.(*timeline.Log).Record(timeline.Event{Board: "3333347a", Kind: timeline.Mount})
	f.until(func(s map[string]any) bool {
		if at(s, "boards", "3333347a", "last", "kind") == "stranger" {
			t.Error("what another address did counts as the board's own")
		}
		return at(s, "boards", "3333347a", "last", "kind") == "mount"
	})
}

// A patch makes of the old state exactly the new one.
func TestMergePatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var object func(depth int) map[string]any
	object = func(depth int) map[string]any {
		out := map[string]any{}
		for _, name := range []string{"a", "b", "c", "d"} {
			switch n := random.IntN(6); {
			case n == 0 && depth > 0:
				out[name] = object(depth - 1)
			case n == 1:
				out[name] = []any{float64(random.IntN(2))}
			case n < 4:
				out[name] = float64(random.IntN(2))
			}
		}
		return out
	}
	clone := func(of map[string]any) map[string]any { return applyPatch(map[string]any{}, of) }
	for range 2000 {
		was, is := object(3), object(3)
		patch := mergePatch(was, is)
		if got := applyPatch(clone(was), patch); !reflect.DeepEqual(got, is) {
			t.Fatalf("the patch %v makes %v of %v; want %v", patch, got, was, is)
		}
		if none := mergePatch(is, clone(is)); len(none) != 0 {
			t.Fatalf("the patch between %v and itself is %v", is, none)
		}
	}
}

// What a request has changed is in the stream at once, not only when everything is looked at again.
func TestLiveHasChangesAtOnce(t *testing.T) {
	d := startWith(t, func(s *Server, _ *Listeners) { s.liveEvery = time.Hour })
	d.putTemplate(t, "minimal@2")
	f := d.followLive(t, "")
	f.until(func(state map[string]any) bool { return at(state, "templates", "minimal@2") != nil })
	// It is changed, although this server has no exports, of which the error is.
	_, _ = d.client.EditPi(t.Context(), "hlspi1", fleet.Edit{Settings: registry.Settings{Labels: []string{"attic"}}, Fields: []string{"labels"}})
	f.until(func(state map[string]any) bool { return at(state, "boards", "3333347a", "settings", "labels") != nil })
	if _, err := d.client.RemoveTemplate(t.Context(), "minimal@2"); err != nil {
		t.Fatal(err)
	}
	f.until(func(state map[string]any) bool { return at(state, "templates", "minimal@2") == nil })
}

// The stream has the latest jobs and those that have not ended, and says that there are others,
// also when further ones end.
func TestLiveHasLatestJobs(t *testing.T) {
	d := startWith(t, func(s *Server, _ *Listeners) { s.liveJobs = 10 })
	submit := func(i int, cancel bool) {
		name := fmt.Sprintf("%d.mp4", i)
		write(t, filepath.Join(d.media, name), "no video")
		job, err := d.client.Submit(t.Context(), transcode.Request{Source: name}, false)
		if err == nil && cancel {
			_, err = d.client.CancelJob(t.Context(), job.Job.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 14 {
		submit(i+1, i != 1)
	}
	f := d.followLive(t, "")
	f.until(func(state map[string]any) bool { return at(state, "system") != nil })
	if n := len(at(f.state, "jobs").(map[string]any)); n != 11 || at(f.state, "jobs", "2") == nil || at(f.state, "jobs", "4") != nil || at(f.state, "system", "older_jobs") != true {
		t.Errorf("%d jobs are shown, older ones: %v; want the latest 10, and job 2, which waits", n, at(f.state, "system", "older_jobs"))
	}
	for i := range 3 {
		submit(i+15, true)
	}
	f.until(func(state map[string]any) bool {
		return at(state, "jobs", "17", "ended") != nil && at(state, "jobs", "5") == nil
	})
	if at(f.state, "jobs", "2") == nil {
		t.Error("a job that waits is no longer shown")
	}
}

// While somebody follows, the doctor looks by itself. What it found last is answered with at once.
func TestDoctorLooksWhileFollowed(t *testing.T) {
	d := startWith(t, func(s *Server, _ *Listeners) { s.examineEvery = time.Millisecond })
	f := d.followLive(t, "")
	f.until(func(state map[string]any) bool { return at(state, "system", "doctor", "at") != nil })
	found, err := get[[]doctor.Finding](t.Context(), d.client, "/api/v1/doctor?last=true")
	if err != nil || len(found) == 0 {
		t.Errorf("what was found last = %v, %v; want findings", found, err)
	}
	if size := at(f.state, "system", "media_size"); size == nil || size.(float64) < at(f.state, "system", "media_free").(float64) {
		t.Errorf("the disk has %v bytes; want more than are free", size)
	}
}
