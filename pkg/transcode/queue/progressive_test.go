package queue

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// A growth is a progressive job whose units are done one after the other.
type growth struct {
	*bench
	fixture *fixture
	job     Job
	seen    map[string]string // playlists by name, as a player has read them last
}

func progressiveFixture(t *testing.T, r transcode.Request) *fixture {
	t.Helper()
	f, err := makeFixture(t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	f.addPictures()
	return f
}

// addPictures gives the units of video the pictures that workers make of them.
func (f *fixture) addPictures() {
	for _, u := range f.plan.Units {
		if u.Video == nil || u.Video.Pictures == nil {
			continue
		}
		r := f.results[u.ID]
		for _, name := range u.Video.PictureNames() {
			data := []byte("a picture called " + name)
			f.files[u.ID][name] = data
			r.Pictures = append(r.Pictures, transcode.Segment{Name: name, SizeBytes: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))})
		}
		f.results[u.ID] = r
	}
}

func progressiveRequest() transcode.Request {
	r := fixtureRequest
	r.Progressive = true
	return r
}

func newGrowth(b *bench, f *fixture, r transcode.Request) *growth {
	g := &growth{bench: b, fixture: f, job: b.submit(r), seen: map[string]string{}}
	g.deliver("probe")
	return g
}

// deliver has a worker do the next unit, which must be this one.
func (g *growth) deliver(unit string) {
	g.t.Helper()
	reply, err := g.claim(g.t.Context(), "pi1", "")
	if err != nil || reply.Unit.ID != unit {
		g.t.Fatalf("claim = %+v, %v; want %s", reply, err, unit)
	}
	dir := scratchDir(g.media(""), "pi1", g.job.ID, unit, reply.Attempt)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		g.t.Fatal(err)
	}
	for name, data := range g.fixture.files[unit] {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			g.t.Fatal(err)
		}
	}
	verdict, err := g.accept(g.t.Context(), "pi1", transcode.Done{Job: g.job.ID, Unit: unit, Attempt: reply.Attempt, Result: g.fixture.results[unit]})
	if err != nil || !verdict.Accepted {
		g.t.Fatalf("result of %s: %+v, %v", unit, verdict, err)
	}
}

// publish publishes what can be, after it was stopped at a step, unless that is 0. It
// reports whether it was.
func (g *growth) publish(step int) (stopped bool) {
	g.t.Helper()
	if step > 0 {
		ctx := newCountdown(g.t.Context(), step)
		stopped = g.publishReady(ctx) != nil || ctx.left.Load() < 0
		g.look()
		g.announced = map[int64]extent{} // the daemon was killed
	}
	if err := g.publishReady(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	return stopped
}

// look reads the playlists as a player does: nothing that they have announced may have
// changed, and each segment that they announce must be there. It returns how many
// segments each has. What the job calls its output can be opened.
func (g *growth) look() int {
	g.t.Helper()
	job, err := g.Job(g.t.Context(), g.job.ID)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := os.Stat(g.media(job.Output)); err != nil {
		g.t.Errorf("the job is %s and its output %q is not there: %v", job.State, job.Output, err)
	}
	least := -1
	for _, dir := range []string{"128p", "64p", "audio"} {
		name := path.Join(dir, transcode.MediaName)
		text, err := os.ReadFile(g.media("hls/clip/" + name))
		if errors.Is(err, os.ErrNotExist) && g.seen[name] == "" {
			return 0
		}
		if err != nil || !strings.HasPrefix(string(text), g.seen[name]) {
			g.t.Fatalf("%s, %v:\n%s\nwant what was announced before, and more:\n%s", name, err, text, g.seen[name])
		}
		g.seen[name] = string(text)
		segments := 0
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			segments++
			if _, err := os.Stat(g.media(path.Join("hls/clip", dir, strings.TrimSpace(line)))); err != nil {
				g.t.Errorf("%s announces what is not there: %v", name, err)
			}
		}
		if least < 0 || segments < least {
			least = segments
		}
	}
	return least
}

// A stream grows with its units, also where publishing is stopped at each step in turn
// and the daemon starts anew; in the end it is what it would have been in one go.
func TestProgressive(t *testing.T) {
	t.Parallel()
	r := progressiveRequest()
	f := progressiveFixture(t, r)
	want, err := hls.Playlists(f.plan, f.results, hls.Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, newDirs(t), nil)
	units := f.plan.Units
	announced := []int{0, 0, 1, 1, 3} // with each unit
	if len(units) != len(announced) || units[0].ID != "audio" || units[2].Video.FirstFrame != 0 || units[3].Video.FirstFrame != sourceRate {
		t.Fatalf("units %+v; want the audio, both renditions of the first second, and both of the rest", units)
	}
	step := 0
	for stopped := true; stopped; step++ {
		g := newGrowth(b, f, r)
		stopped = step == 0
		for i, segments := range announced {
			g.deliver(units[i].ID)
			stopped = g.publish(step) || stopped
			if got := g.look(); got != segments {
				t.Fatalf("stopped at step %d: %d segments are announced after %s; want %d", step, got, units[i].ID, segments)
			}
		}
		for name, text := range want {
			got, err := os.ReadFile(g.media("hls/clip/" + name))
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("stopped at step %d: %s is %q, %v; want %q", step, name, got, err, text)
			}
		}
		job, err := b.Job(t.Context(), g.job.ID)
		if err != nil || job.State != Done {
			t.Fatalf("job = %+v, %v; want it done", job, err)
		}
		if err := errors.Join(os.RemoveAll(b.media("hls")), b.Remove(t.Context(), g.job.ID)); err != nil {
			t.Fatal(err)
		}
	}
	if step < 15 {
		t.Errorf("publishing could be stopped at %d steps; want one for each file at least", step)
	}
}

// A job that ends early ends its playlists, so that players stop where it has come to.
func TestProgressiveStreamEnds(t *testing.T) {
	t.Parallel()
	r := progressiveRequest()
	f := progressiveFixture(t, r)
	for _, tt := range []struct {
		name     string
		units    int // that are done before
		segments int
	}{{"before the first segment", 2, 0}, {"after it", 3, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, newDirs(t), nil)
			g := newGrowth(b, f, r)
			for _, u := range f.plan.Units[:tt.units] {
				g.deliver(u.ID)
			}
			g.publish(0)
			if err := b.Cancel(t.Context(), g.job.ID); err != nil {
				t.Fatal(err)
			}
			b.stop()
			b = open(t, b.dir, nil) // which has to find out by itself
			if err := b.publishReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.bench = b
			if got := g.look(); got != tt.segments {
				t.Errorf("%d segments are announced; want %d", got, tt.segments)
			}
			for name, text := range g.seen {
				if !strings.HasSuffix(text, "#EXT-X-ENDLIST\n") {
					t.Errorf("%s does not end:\n%s", name, text)
				}
			}
			job, err := b.Job(t.Context(), g.job.ID)
			if has := job.Output != ""; err != nil || has != (tt.segments > 0) {
				t.Errorf("job = %+v, %v; want an output only if somebody could play it", job, err)
			}
		})
	}
}

// What a name was chosen for and never got is another's.
func TestProgressiveTakesNoOthersPlace(t *testing.T) {
	t.Parallel()
	r := progressiveRequest()
	f := progressiveFixture(t, r)
	b := open(t, newDirs(t), nil)
	if err := os.MkdirAll(b.media("hls/clip/128p"), 0o755); err != nil {
		t.Fatal(err)
	}
	others := b.media("hls/clip/128p/00000.ts")
	if err := os.WriteFile(others, []byte("another's"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := newGrowth(b, f, r)
	for _, u := range f.plan.Units {
		g.deliver(u.ID)
		g.publish(0)
	}
	if text, err := os.ReadFile(others); err != nil || string(text) != "another's" {
		t.Errorf("another's file is %q, %v; want it as it was", text, err)
	}
	if job, err := b.Job(t.Context(), g.job.ID); err != nil || job.Output != "hls/clip-2/"+transcode.MasterName {
		t.Errorf("job = %+v, %v; want it published beside", job, err)
	}
}
