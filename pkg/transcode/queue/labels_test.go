package queue

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// boards are the labels of workers' boards, which may change at any time.
type boards struct {
	mu     sync.Mutex
	labels map[string][]string
}

func (bs *boards) set(worker string, labels ...string) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.labels[worker] = labels
}

func (bs *boards) of(worker string) []string {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return bs.labels[worker]
}

// labelled returns boards with these labels, and the option that tells of them.
func labelled(labels map[string][]string) (*boards, func(*Options)) {
	bs := &boards{labels: maps.Clone(labels)}
	return bs, func(o *Options) { o.Labels = bs.of }
}

// bound returns a request that is for workers with these labels.
func bound(name string, labels ...string) transcode.Request {
	r := named(name)
	r.Labels = labels
	return r
}

// leaves has a worker claim, which is to find work for others' labels alone.
func (b *bench) leaves(worker string) {
	b.t.Helper()
	reply, err := b.claim(b.t.Context(), worker, "")
	if err != nil || !strings.Contains(reply.Refused, "other labels") || reply.Gone {
		b.t.Errorf("claim of %s: %+v, %v; want it to ask again later, as all is for others", worker, reply, err)
	}
}

// Every unit of a job, its probe too, is for workers that have all of its
// labels. What they are counts at each claim.
func TestLabelsBindAJob(t *testing.T) {
	t.Parallel()
	bs, labels := labelled(map[string][]string{"pi1": {"fast"}, "pi2": {"row1", "fast"}})
	b := open(t, newDirs(t), labels)
	job := b.submit(bound("a", "fast", "row1"))
	b.known("pi1")
	b.leaves("pi1")
	b.leaves("pi3")
	probe := b.gets("pi2", job.ID, "probe")
	v, err := b.accept(t.Context(), "pi2", transcode.Done{Job: job.ID, Unit: "probe", Attempt: probe.Attempt, Result: theFixture(t).results["probe"]})
	if err != nil || !v.Accepted {
		t.Fatalf("probe: %+v, %v", v, err)
	}
	units := theFixture(t).plan.Units
	b.leaves("pi1")
	b.gets("pi2", job.ID, units[0].ID)
	bs.set("pi2", "fast")
	reply := b.gets("pi2", job.ID, units[0].ID) // what it has begun it has, also where our answer was lost
	writeAttempt(t, b.media(""), "pi2", transcode.Work{Job: job.ID, Unit: units[0].ID}, reply.Attempt)
	v, err = b.accept(t.Context(), "pi2", transcode.Done{Job: job.ID, Unit: units[0].ID, Attempt: reply.Attempt, Result: theFixture(t).results[units[0].ID]})
	if err != nil || !v.Accepted {
		t.Errorf("result after the label was taken away: %+v, %v; want it accepted", v, err)
	}
	b.leaves("pi2")
	bs.set("pi1", "row1", "fast", "old")
	b.gets("pi1", job.ID, units[1].ID)
}

// What only some may do, they do first; among equals the oldest is, and what is
// of a higher priority is before all.
func TestOrderOfLabelledJobs(t *testing.T) {
	t.Parallel()
	_, labels := labelled(map[string][]string{"pi1": {"a", "z"}, "pi2": {"a", "z"}, "pi3": {"a", "z"}, "pi4": {"a", "z"}, "pi5": {"a"}})
	b := open(t, newDirs(t), labels)
	open1, boundA, boundZ, open2 := b.submit(named("1")), b.submit(bound("2", "a")), b.submit(bound("3", "z")), b.submit(named("4"))
	high := High
	if _, err := b.Change(t.Context(), open2.ID, Change{Priority: &high}); err != nil {
		t.Fatal(err)
	}
	b.gets("pi1", open2.ID, "probe")
	b.gets("pi2", boundA.ID, "probe")
	b.gets("pi5", open1.ID, "probe")
	b.gets("pi3", boundZ.ID, "probe")
	if reply, err := b.claim(t.Context(), "pi4", ""); err != nil || !reply.Gone {
		t.Errorf("claim when all is begun: %+v, %v; want that there is nothing", reply, err)
	}
}

// However much waits for others, a worker finds what it may do.
func TestLabelledJobsDoNotHideOthers(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	err := b.write(t.Context(), func(s *transaction) error {
		var errs []error
		for range maxOffers + 1 {
			_, err := s.addJob(t.Context(), bound("a", "fast"), "", sourceStamp{})
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	job := b.submit(named("b"))
	b.gets("pi1", job.ID, "probe")
	b.leaves("pi2")
}

// A job that waits for a label that nobody has keeps nobody from helping.
func TestWaitingLabelsLeaveTheEndGame(t *testing.T) {
	t.Parallel()
	bs, labels := labelled(map[string][]string{})
	b := open(t, newDirs(t), labels)
	job, slow, _ := b.lastUnit(fixtureRequest)
	b.submit(bound("b", "fast"))
	if waiting, err := b.waitingUnits(t.Context()); err != nil || len(waiting) != 0 {
		t.Errorf("waitingUnits = %v, %v; want none that somebody is woken for", waiting, err)
	}
	b.gets("pi1", job.ID, slow.Unit.ID)
	bs.set("pi2", "fast")
	if waiting, err := b.waitingUnits(t.Context()); err != nil || waiting[0] != 1 {
		t.Errorf("waitingUnits = %v, %v; want the probe", waiting, err)
	}
}

// Nobody helps with what is not for its labels.
func TestEndGameKeepsToLabels(t *testing.T) {
	t.Parallel()
	bs, labels := labelled(map[string][]string{"pi1": {"fast"}, "pi2": {"fast"}})
	b := open(t, newDirs(t), labels)
	job, slow, _ := b.lastUnit(bound("clip", "fast"))
	bs.set("pi1")
	if n := b.idleSpeculators(time.Now()); n != 0 {
		t.Errorf("%d workers could help; want none", n)
	}
	if reply, err := b.claim(t.Context(), "pi1", ""); err != nil || !reply.Gone {
		t.Errorf("claim without the label: %+v, %v; want that there is nothing", reply, err)
	}
	bs.set("pi1", "fast")
	b.gets("pi1", job.ID, slow.Unit.ID)
}

// The one worker that may do a unit gets it again when it has failed, until it
// has been tried too often; others do not count.
func TestPoisonOfOneLabelledWorker(t *testing.T) {
	t.Parallel()
	_, labels := labelled(map[string][]string{"pi1": {"fast"}})
	b := open(t, newDirs(t), labels)
	job := b.submit(bound("a", "fast"))
	b.known("pi1")
	b.known("pi2")
	for range maxAttempts {
		b.fails("pi1", b.gets("pi1", job.ID, "probe"), transcode.Failed{Reason: "exit status 1"})
	}
	got, err := b.Job(t.Context(), job.ID)
	if want := "probe was tried 5 times, the last time by pi1: exit status 1"; err != nil || got.State != Failed || got.Reason != want {
		t.Errorf("job = %+v, %v; want it failed because %s", got, err, want)
	}
}

// A failed unit is left to another that has the label, and to nobody else.
func TestRetriedElsewhereWithTheLabel(t *testing.T) {
	t.Parallel()
	bs, labels := labelled(map[string][]string{"pi1": {"fast"}, "pi3": {"fast"}})
	b := open(t, newDirs(t), labels)
	job := b.submit(bound("a", "fast"))
	for _, worker := range []string{"pi1", "pi2", "pi3"} {
		b.known(worker)
	}
	b.fails("pi1", b.gets("pi1", job.ID, "probe"), transcode.Failed{Reason: "exit status 1"})
	reply, err := b.claim(t.Context(), "pi1", "")
	if err != nil || !strings.Contains(reply.Refused, "pi3 has not") || reply.Gone {
		t.Errorf("claim of the worker that failed: %+v, %v; want it left to pi3", reply, err)
	}
	bs.set("pi3")
	b.gets("pi1", job.ID, "probe")
}

// What others have of memory does not matter where they have not the label.
func TestRoomAmongLabelled(t *testing.T) {
	t.Parallel()
	bs, labels := labelled(map[string][]string{"small": {"fast"}, "great": nil})
	b := open(t, newDirs(t), labels)
	job := b.submit(bound("a", "fast"))
	probe := transcode.Probe{
		Format: "mp4", Seconds: 60, BitrateBPS: 40_000_000,
		Video: &transcode.VideoStream{Codec: "h264", Width: 3840, Height: 2160, Rate: transcode.Rational{Num: 25, Den: 1}, PixelFormat: "yuv420p", EndSeconds: 60},
	}
	claimed := b.gets("small", job.ID, "probe")
	if v, err := b.accept(t.Context(), "small", transcode.Done{Job: job.ID, Unit: "probe", Attempt: claimed.Attempt, Result: transcode.Result{Probe: &probe}}); err != nil || !v.Accepted {
		t.Fatalf("probe: %+v, %v", v, err)
	}
	b.workers.hello("small", transcode.Hello{Memory: 900 << 20}, time.Now())
	b.workers.hello("great", transcode.Hello{Memory: 8 << 30}, time.Now())
	grant := b.gets("small", job.ID, "v-0000")
	b.fails("small", grant, transcode.Failed{Reason: "it has to end", Stopped: true})
	bs.set("great", "fast")
	if reply, err := b.claim(t.Context(), "small", ""); err != nil || !strings.Contains(reply.Refused, "more memory") {
		t.Errorf("claim of the small board: %+v, %v; want it left to the great one", reply, err)
	}
}

// The plan is made for those that may do it.
func TestFreeWorkersOfARequest(t *testing.T) {
	_, labels := labelled(map[string][]string{"pi1": {"fast"}, "pi2": {"fast", "row1"}})
	var o Options
	labels(&o)
	ws := newWorkers(o.Labels)
	for _, worker := range []string{"pi1", "pi2", "pi3"} {
		ws.hello(worker, transcode.Hello{}, time.Now())
	}
	for _, tt := range []struct {
		labels []string
		want   int
	}{{nil, 3}, {[]string{"fast"}, 2}, {[]string{"fast", "row1"}, 1}, {[]string{"slow"}, 0}} {
		if got := ws.free(bound("a", tt.labels...)); got != tt.want {
			t.Errorf("free(%q) = %d; want %d", tt.labels, got, tt.want)
		}
	}
}

// A legacy muxer has no labels.
func TestLegacyMuxersHaveNoLabels(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	r := bound("a", "fast")
	r.MuxID = muxerOne.MuxID
	b.submit(r)
	b.takes(muxerOne, 0)
	b.takes(muxerOne, b.submit(named("b")).ID)
}

// Labels tell jobs from others as all options do, but not in which order they
// are given.
func TestLabelsAndIdentity(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(bound("a", "row1", "fast", "row1"))
	if want := []string{"fast", "row1"}; !slices.Equal(job.Request.Labels, want) {
		t.Errorf("labels = %q; want %q", job.Request.Labels, want)
	}
	for _, tt := range []struct {
		labels []string
		same   bool
	}{{[]string{"fast", "row1"}, true}, {[]string{"fast"}, false}, {nil, false}} {
		if again := b.submit(bound("a", tt.labels...)); (again.ID == job.ID) != tt.same {
			t.Errorf("with labels %q it is job %d; want the same as %d: %v", tt.labels, again.ID, job.ID, tt.same)
		}
	}
	if err := b.Cancel(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	again, _, err := b.Retry(t.Context(), job.ID)
	if err != nil || !slices.Equal(again.Request.Labels, job.Request.Labels) {
		t.Errorf("retried: %+v, %v; want the same labels", again, err)
	}
}

// Nobody is woken for a label that no worker has. The one that gets it is, and
// those that are woken with it do not ask again at once.
func TestRelabelledWorkerIsWoken(t *testing.T) {
	t.Parallel()
	bs, labels := labelled(map[string][]string{"pi3": {"fast"}})
	b := start(t, newDirs(t), labels)
	one, two := b.join("pi1", transcode.Hello{}), b.join("pi2", transcode.Hello{})
	job := b.submit(bound("a", "fast"))
	if reply := one.claim(); reply.Refused == "" || reply.Gone {
		t.Errorf("claim without the label: %+v; want it refused for now", reply)
	}
	consumer, err := one.js.Consumer(t.Context(), transcode.StreamWork, transcode.WorkConsumer(transcode.LaneAny, transcode.PriorityNormal))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if batch, err := consumer.FetchNoWait(1); err != nil {
		t.Fatal(err)
	} else if msg := <-batch.Messages(); msg != nil {
		t.Error("work is announced that nobody may do")
	}
	bs.set("pi2", "fast")
	b.Relabel()
	if work := two.do(); work.Job != job.ID {
		t.Errorf("pi2 did %+v; want job %d", work, job.ID)
	}
	bs.set("pi2")
	if reply := two.claim(); reply.Refused == "" || reply.Gone {
		t.Errorf("claim without the label: %+v; want it refused for now", reply)
	}
	three := b.join("pi3", transcode.Hello{}) // it comes with the label
	for range theFixture(t).plan.Units {
		three.do()
	}
	if got := b.waitEnd(job.ID); got.State != Done {
		t.Errorf("job = %+v; want it done", got)
	}
}

// Claims read the jobs in the order of their index, and no more of them than
// there are before the first that fits.
func TestOffersAreInOrderOfTheIndex(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	rows, err := b.store.Query(t.Context(), "EXPLAIN QUERY PLAN "+offers, 0, `["","fast"]`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(detail + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plan.String(), "SCAN j USING INDEX jobs_live") || strings.Contains(plan.String(), "TEMP B-TREE") {
		t.Errorf("the plan is\n%swant it to use jobs_live and not to sort", plan.String())
	}
}

// It is looked for work at once when labels have changed, and when somebody has
// come who may have some.
func TestLabelsWakeTheQueue(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	woken := func() bool {
		select {
		case <-b.announce:
			return true
		default:
			return false
		}
	}
	hello := func() {
		if _, err := b.onHello(t.Context(), "pi1", []byte("{}")); err != nil {
			t.Error(err)
		}
	}
	for _, tt := range []struct {
		what string
		do   func()
		want bool
	}{
		{"a worker comes", hello, true}, {"it says hello again", hello, false}, {"labels change", b.Relabel, true},
	} {
		tt.do()
		if got := woken(); got != tt.want {
			t.Errorf("%s: woken: %v; want %v", tt.what, got, tt.want)
		}
	}
}
