package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/registry"
	"pibootd/pkg/share"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/queue"
)

// How often what nobody reports is looked at: states that change by time alone, and
// files. livePause is the shortest time between two looks, and livePart limits the
// share of the time that they take.
const (
	liveEvery   = 5 * time.Second
	makingEvery = time.Second // while a template is made, which says only in a file how far it is
	filesEvery  = 30 * time.Second
	livePause   = 250 * time.Millisecond
	livePart    = 10
	// liveJobs is how many jobs are shown, the latest ones, besides all that have not ended. Pages
	// of GET /api/v1/jobs have the others.
	liveJobs = 2000
)

// A liveSource reads what the dashboard shows, and keeps what is dear to read.
type liveSource struct {
	s      *Server
	last   map[string]timeline.Event // of each board, the newest that it caused itself
	files  time.Time                 // when the files were looked at
	roots  time.Time                 // when the templates were
	making bool                      // a template is being made
	older  bool                      // there are jobs that are not shown

	mu    sync.Mutex
	jobs  map[int64]bool // have changed
	news  []timeline.Event
	woken chan struct{}
}

// runLive keeps the state up to date while somebody follows it, until ctx ends.
func (s *Server) runLive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.live.woken:
		}
		if err := s.keepLive(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("the dashboard is stuck, trying again", "component", "web", "err", err)
			pause.For(ctx, liveEvery)
			signal(s.live.woken)
		}
	}
}

// keepLive reads all once, and then what changes, until nobody follows.
func (s *Server) keepLive(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	src := &liveSource{s: s, jobs: map[int64]bool{}, woken: make(chan struct{}, 1)}
	after, err := s.Timeline.Newest(ctx)
	if err != nil {
		stop()
		return err
	}
	var sources sync.WaitGroup
	defer sources.Wait()
	defer stop()
	sources.Go(func() { src.followEvents(ctx, after) })
	changes := s.Queue.Changes(ctx) // from here on
	sources.Go(func() { src.followJobs(changes) })
	if err := src.readAll(ctx); err != nil {
		return err
	}
	s.live.setReady(true)
	defer s.live.setReady(false)
	for s.live.followed() {
		began := time.Now()
		if err := src.readNews(ctx); err != nil {
			return err
		}
		if !pause.For(ctx, max(livePause, livePart*time.Since(began))) || !src.wait(ctx) {
			return nil
		}
	}
	return nil
}

// wait waits until something has changed, but no longer than liveEvery.
func (src *liveSource) wait(ctx context.Context) bool {
	every := cmp.Or(src.s.liveEvery, liveEvery)
	if src.making {
		every = makingEvery
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-src.woken:
	case <-src.s.live.touched:
	case <-src.s.live.nudged:
		src.files, src.roots = time.Time{}, time.Time{}
	case <-timer.C:
	}
	return true
}

func (src *liveSource) followEvents(ctx context.Context, after int64) {
	for event, err := range src.s.Timeline.Follow(ctx, "", after) {
		if err != nil {
			src.s.Log.Debug("following ended", "component", "web", "err", err)
			return
		}
		src.mu.Lock()
		src.news = append(src.news, event)
		src.mu.Unlock()
		src.wake()
	}
}

func (src *liveSource) followJobs(changes func(func([]int64) bool)) {
	for ids := range changes {
		src.mu.Lock()
		for _, id := range ids {
			src.jobs[id] = true
		}
		src.mu.Unlock()
		src.wake()
	}
}

func (src *liveSource) wake() { signal(src.woken) }

// drain returns what has changed since it was called before.
func (src *liveSource) drain() (news []timeline.Event, jobs map[int64]bool) {
	src.mu.Lock()
	defer src.mu.Unlock()
	news, jobs = src.news, src.jobs
	src.news, src.jobs = nil, map[int64]bool{}
	return news, jobs
}

// readAll reads everything.
func (src *liveSource) readAll(ctx context.Context) error {
	src.last = map[string]timeline.Event{}
	for _, board := range src.s.Registry.All() {
		event, ok, err := src.s.Timeline.Last(ctx, board.Serial.String())
		if err != nil {
			return err
		}
		if ok {
			src.last[board.Serial.String()] = event
		}
	}
	jobs, err := src.s.Queue.Latest(ctx, cmp.Or(src.s.liveJobs, liveJobs))
	if err != nil {
		return err
	}
	src.older = len(jobs) >= cmp.Or(src.s.liveJobs, liveJobs)
	byID := map[string]any{}
	for _, job := range jobs {
		if job.State == queue.Running || job.State == queue.Publishing {
			if job, err = src.s.Queue.Job(ctx, job.ID); errors.Is(err, queue.ErrNoJob) {
				continue
			}
		}
		if err == nil {
			byID[strconv.FormatInt(job.ID, 10)], err = liveJobOf(job)
		}
		if err != nil {
			return err
		}
	}
	if err := src.s.live.replace("jobs", byID); err != nil {
		return err
	}
	src.files, src.roots = time.Time{}, time.Time{}
	return src.readNews(ctx)
}

// readNews reads what has changed, and what is in memory.
func (src *liveSource) readNews(ctx context.Context) error {
	news, changed := src.drain()
	for _, event := range news {
		if event.Kind != timeline.LoginRefused && event.Kind != timeline.Stranger {
			src.last[event.Board] = event
		}
	}
	for id := range changed {
		ended, err := src.readJob(ctx, id)
		if err != nil {
			return err
		}
		if ended {
			src.files = time.Time{} // there may be a new video
		}
	}
	if len(changed) > 0 {
		if err := src.trimJobs(); err != nil {
			return err
		}
	}
	if err := src.readWorkers(ctx); err != nil {
		return err
	}
	if err := errors.Join(src.readOperations(), src.readStreams()); err != nil {
		return err
	}
	if time.Since(src.roots) >= liveEvery {
		src.roots = time.Now()
		if err := src.readTemplates(); err != nil {
			return err
		}
	}
	if time.Since(src.files) < filesEvery {
		return nil
	}
	src.files = time.Now()
	return src.readFiles(ctx)
}

// readJob reads a job. ended is true for one that has just come to its end.
func (src *liveSource) readJob(ctx context.Context, id int64) (ended bool, err error) {
	key := strconv.FormatInt(id, 10)
	job, err := src.s.Queue.Job(ctx, id)
	if errors.Is(err, queue.ErrNoJob) {
		return false, src.s.live.set("jobs", key, nil)
	}
	if err != nil {
		return false, err
	}
	object, err := liveJobOf(job)
	if err != nil {
		return false, err
	}
	return job.State.Ended(), src.s.live.set("jobs", key, object)
}

// trimJobs no longer shows the oldest jobs that have ended, once they are a tenth too many.
func (src *liveSource) trimJobs() error {
	most := cmp.Or(src.s.liveJobs, liveJobs)
	var over []int64
	shown := src.s.live.collection("jobs")
	for key, job := range shown {
		if job, _ := job.(map[string]any); job["ended"] != nil {
			id, _ := strconv.ParseInt(key, 10, 64)
			over = append(over, id)
		}
	}
	if len(shown) <= most+most/10 {
		return nil
	}
	slices.Sort(over)
	src.older = true
	for _, id := range over[:min(len(over), len(shown)-most)] {
		if err := src.s.live.set("jobs", strconv.FormatInt(id, 10), nil); err != nil {
			return err
		}
	}
	return nil
}

// liveJobOf returns what the dashboard shows of a job: the lists that grow with a job
// are left out once it has ended.
func liveJobOf(job queue.Job) (map[string]any, error) {
	units := map[string]any{}
	if !job.State.Ended() {
		for i, u := range job.Units {
			u.FPS = math.Round(u.FPS*10) / 10
			unit, err := asObject(u)
			if err != nil {
				return nil, err
			}
			units[strconv.Itoa(i)] = unit
		}
	}
	job.Units, job.Stderr = nil, nil
	job.FPS = math.Round(job.FPS*10) / 10
	object, err := asObject(job)
	if err == nil && len(units) > 0 {
		object["units"] = units
	}
	return object, err
}

// readWorkers reads boards and other machines.
func (src *liveSource) readWorkers(ctx context.Context) error {
	workers := src.s.workers()
	boards, machines, strangers := map[string]any{}, map[string]any{}, map[string]any{}
	for _, board := range src.s.Registry.All() {
		described, err := src.describe(ctx, board, workers)
		if err != nil {
			return err
		}
		object, err := asObject(described)
		if err != nil {
			return err
		}
		boards[board.Serial.String()] = steadyWorker(object)
	}
	for _, m := range src.s.Registry.Machines() {
		described, err := asObject(src.describeMachine(m, workers))
		if err != nil {
			return err
		}
		machines[m.Name] = steadyWorker(described)
	}
	for _, stranger := range src.s.Registry.Discovered() {
		described, err := asObject(stranger)
		if err != nil {
			return err
		}
		strangers[stranger.MAC.String()] = described
	}
	return errors.Join(src.s.live.replace("boards", boards), src.s.live.replace("machines", machines), src.s.live.replace("discovered", strangers))
}

func (src *liveSource) describe(ctx context.Context, board registry.Pi, workers map[string]queue.Worker) (out Pi, err error) {
	out = Pi{Pi: board}
	if worker, ok := workers[board.Serial.String()]; ok {
		out.Worker, out.Online = &worker, worker.Online
	}
	if last, ok := src.last[board.Serial.String()]; ok {
		out.Last = &last
	}
	out.Diagnosis, err = src.s.Diagnoses.Of(ctx, board)
	if stages := out.Diagnosis.Stages; len(stages) > 0 && out.Diagnosis.State != diagnosis.Well {
		stages[len(stages)-1].Seconds = 0 // it grows, and those who follow know when it started
	}
	return out, err
}

func (src *liveSource) describeMachine(m registry.Machine, workers map[string]queue.Worker) Machine {
	out := Machine{Machine: m}
	if worker, ok := workers[m.Name]; ok && worker.LastSeen.After(m.Added) {
		out.Worker, out.Online = &worker, worker.Online
	}
	return out
}

// steadyWorker removes what changes with each hello of a worker, and rounds its temperature and
// load, so that boards that do nothing cost nothing.
func steadyWorker(described map[string]any) map[string]any {
	worker, _ := described["worker"].(map[string]any)
	hello, _ := worker["hello"].(map[string]any)
	delete(worker, "last_seen")
	delete(worker, "clock_ahead_ns")
	if machine, ok := hello["machine"].(map[string]any); ok {
		delete(machine, "time")
		delete(machine, "root_free")
		roundTo(machine, "temperature", 2)
		roundTo(machine, "load", 0.5)
	}
	return described
}

// roundTo makes a number of an object a multiple of step.
func roundTo(object map[string]any, name string, step float64) {
	if value, ok := object[name].(float64); ok {
		object[name] = math.Round(value/step) * step
	}
}

// readOperations reads which templates are being made, and how far that is.
func (src *liveSource) readOperations() error {
	all, err := src.s.Operations.List()
	if err != nil {
		return err
	}
	operations, making := map[string]any{}, false
	for _, op := range all {
		making = making || !op.State.Ended()
		if operations[strconv.FormatInt(op.ID, 10)], err = asObject(op); err != nil {
			return err
		}
	}
	if src.making && !making {
		src.roots = time.Time{} // there may be a new template
	}
	src.making = making
	return src.s.live.replace("operations", operations)
}

// readTemplates looks at the templates, which the command line makes without the daemon.
func (src *liveSource) readTemplates() error {
	made, err := src.s.Templates.List()
	if err != nil {
		return err
	}
	templates := map[string]any{}
	for _, one := range made {
		if templates[one.String()], err = asObject(one); err != nil {
			return err
		}
	}
	return src.s.live.replace("templates", templates)
}

// readStreams reads the live streams, of which the newest of a name is shown.
func (src *liveSource) readStreams() error {
	streams := map[string]any{}
	for _, one := range src.s.streams() {
		object, err := asObject(one)
		if err != nil {
			return err
		}
		streams[one.Name] = object
	}
	return src.s.live.replace("streams", streams)
}

// readFiles looks at the published videos and the disks.
func (src *liveSource) readFiles(ctx context.Context) error {
	outputs, err := src.s.Queue.Outputs(ctx)
	if err != nil {
		return err
	}
	published, err := src.s.published.list(outputs)
	if err != nil {
		return fmt.Errorf("listing the media share: %w", err)
	}
	media := map[string]any{}
	for _, one := range published {
		if media[one.Path], err = asObject(one); err != nil {
			return err
		}
	}
	items, err := src.s.Trash.List()
	if err != nil {
		return err
	}
	deleted := map[string]any{}
	for _, one := range items {
		if deleted[one.ID], err = asObject(one); err != nil {
			return err
		}
	}
	described := src.s.system()
	described.OlderJobs = src.older
	system, err := asObject(described)
	if err != nil {
		return err
	}
	return errors.Join(ctx.Err(), src.s.live.replace("media", media), src.s.live.replace("trash", deleted), src.s.live.replace("system", system))
}

// A System is what the dashboard shows of the machine.
type System struct {
	Info
	MediaFree int64     `json:"media_free"` // bytes, to three digits
	StateFree int64     `json:"state_free"`
	MediaSize int64     `json:"media_size"` // bytes of the file system
	StateSize int64     `json:"state_size"`
	OlderJobs bool      `json:"older_jobs,omitempty"` // there are more than are shown
	Uploads   bool      `json:"uploads"`              // whether a token permits uploads
	Doctor    *Examined `json:"doctor,omitempty"`     // nil: it has not looked since the start
	TrashKeep int64     `json:"trash_keep"`           // seconds that deleted videos stay in the trash; 0: until somebody removes them
}

func (s *Server) system() System {
	out := System{Info: s.Info, Uploads: s.UploadToken != nil, TrashKeep: int64(s.TrashKeep.Seconds()), Doctor: s.examined.Load()}
	out.MediaFree, out.MediaSize = diskSpace(s.Info.MediaDir)
	out.StateFree, out.StateSize = diskSpace(s.Info.StateDir)
	return out
}

// diskSpace returns the bytes of a file system, and how many of them are free, to three
// digits, because more change all the time; 0 if they are unknown.
func diskSpace(dir string) (free, size int64) {
	free, freeErr := share.FreeBytes(dir)
	size, err := share.SizeBytes(dir)
	if errors.Join(freeErr, err) != nil || free <= 0 {
		return 0, 0
	}
	unit := math.Pow(10, math.Max(0, math.Floor(math.Log10(float64(free)))-2))
	return int64(math.Floor(float64(free)/unit) * unit), size
}
