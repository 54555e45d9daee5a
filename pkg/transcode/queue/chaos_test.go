package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode"
)

// Each seed is one history of a job whose daemon and workers are killed at
// random points, and whose workers put into their scratches whatever a board
// can. However it goes, the job ends, what it publishes is whole and of accepted
// results alone, and nothing else in the media share has changed.
func TestChaos(t *testing.T) {
	t.Parallel()
	for seed := range chaosSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, uint64(seed))
			others := newCanary(t, c.dir)
			for range chaosSteps {
				c.step()
			}
			c.finish()
			c.daemon.kill()
			b := start(t, c.dir, nil)
			if job := b.waitEnd(1); job.State != Done {
				t.Fatalf("job = %+v; want it done", job)
			}
			if jobs, err := b.Jobs(t.Context()); err != nil || len(jobs) != 1 {
				t.Errorf("%d jobs, %v; want one", len(jobs), err)
			}
			b.stop()
			b.checkFiles("hls/clip")
			b.checkSwept(1)
			others.check(t, c.dir, "hls/clip")
		})
	}
}

// maxCrashes of workers in the middle of a unit: with more, a unit could be
// taken for poison.
const maxCrashes = maxAttempts - 2

// A chaos is one history.
type chaos struct {
	*testing.T
	dir     string
	random  *rand.Rand
	daemon  *killable
	workers []*chaosWorker
	crashes int
}

// A chaosWorker may have a claim, and one that it has forgotten: a process of
// its that was thought dead and is not.
type chaosWorker struct {
	*member
	has, ghost *transcode.ClaimReply
}

func newChaos(t *testing.T, seed uint64) *chaos {
	dir := newDirs(t)
	c := &chaos{T: t, dir: dir, random: rand.New(rand.NewPCG(seed, 1)), daemon: startKillable(t, dir)}
	for i := range 3 {
		c.workers = append(c.workers, &chaosWorker{member: c.daemon.join(dir, fmt.Sprintf("pi%d", i+1))})
	}
	return c
}

// step does something to somebody.
func (c *chaos) step() {
	w := c.workers[c.random.IntN(len(c.workers))]
	switch n := c.random.IntN(100); {
	case n < 12:
		c.restart()
	case n < 16:
		c.vandalize(w)
	case n < 24 && w.ghost != nil:
		c.spoil(w, *w.ghost)
		w.done(workOf(*w.ghost), w.ghost.Attempt) // files that are not those of the result
		w.ghost = nil
	case w.has == nil:
		c.claim(w)
	case n < 40:
		w.progress(workOf(*w.has), w.has.Attempt, 1)
	case n < 50 && c.crashes < maxCrashes:
		c.crashes++
		c.spoil(w, *w.has)
		w.ghost, w.has = w.has, nil
		w.session = fmt.Sprint(c.crashes)
	case n < 58:
		w.failed(transcode.Failed{Job: w.has.Job, Unit: w.has.Unit.ID, Attempt: w.has.Attempt, Reason: "stopped", Stopped: true})
		w.has = nil
	case n < 65:
		c.spoil(w, *w.has) // half of it is written
	default:
		c.hand(w, *w.has)
		w.has = nil
	}
}

func workOf(g transcode.ClaimReply) transcode.Work {
	return transcode.Work{Job: g.Job, Unit: g.Unit.ID}
}

// restart kills the daemon and starts another. Workers continue with what they have.
func (c *chaos) restart() {
	c.daemon.kill()
	c.daemon = startKillable(c.T, c.dir)
	for _, w := range c.workers {
		w.conn.Close()
		session := w.session
		w.member = c.daemon.join(c.dir, w.name)
		w.session = session
	}
}

func (c *chaos) claim(w *chaosWorker) {
	if reply := w.claim(); reply.Refused == "" {
		w.has = &reply
	}
}

// spoil writes what is not a result into the directory of an attempt, which may
// have been removed.
func (c *chaos) spoil(w *chaosWorker, g transcode.ClaimReply) {
	dir := scratchDir(w.media, w.name, g.Job, g.Unit.ID, g.Attempt)
	if _, err := os.Readlink(dir); err == nil { // of vandalize: a board's own kernel would follow it on the board
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.Fatal(err)
		}
	}
	if g.Unit.Kind == transcode.KindProbe || os.MkdirAll(dir, 0o755) != nil {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "00000.ts"), []byte(w.name+" was here"), 0o644); err != nil {
		c.Fatal(err)
	}
}

// vandalize puts something into a worker's scratch that nobody wants there, now
// and then in the place of the attempt that it has.
func (c *chaos) vandalize(w *chaosWorker) {
	scratch := filepath.Join(w.media, transcode.ScratchOf(w.name))
	place := filepath.Join(scratch, fmt.Sprintf("%d", c.random.IntN(5)))
	if w.has != nil && c.random.IntN(2) == 0 {
		place = scratchDir(w.media, w.name, w.has.Job, w.has.Unit.ID, w.has.Attempt)
	}
	targets := []string{"../../hls", "../../family-videos", "../..", "../../../..", "/", "../../.work/1", "../../videos/x.mp4"}
	err := errors.Join(os.MkdirAll(scratch, 0o777), os.RemoveAll(place))
	if err == nil {
		err = os.Symlink(targets[c.random.IntN(len(targets))], place)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		c.Fatal(err)
	}
}

// hand hands in a result, sometimes twice and sometimes to a daemon that is
// killed right after.
func (c *chaos) hand(w *chaosWorker, g transcode.ClaimReply) {
	w.write(workOf(g), g.Attempt)
	accepted := w.done(workOf(g), g.Attempt).Accepted
	if c.random.IntN(4) > 0 {
		return
	}
	c.restart()
	if again := w.done(workOf(g), g.Attempt).Accepted; again != accepted {
		c.Errorf("%s of attempt %d: accepted: %v, and asked again: %v", g.Unit.ID, g.Attempt, accepted, again)
	}
}

// finish has the units done that the history has left.
func (c *chaos) finish() {
	for _, w := range c.workers {
		if w.has != nil {
			c.hand(w, *w.has)
			w.has = nil
		}
	}
	w := c.workers[0]
	for n := 0; ; n++ {
		reply := w.claim()
		if reply.Refused != "" {
			return
		}
		if n > 100 {
			c.Fatal("there is always more to do")
		}
		w.write(workOf(reply), reply.Attempt)
		w.done(workOf(reply), reply.Attempt)
	}
}
