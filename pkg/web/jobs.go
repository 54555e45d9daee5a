package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// listJobs answers with a page of jobs. If there are more, the header Link has the
// address of the next one (RFC 8288).
func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) {
	page, err := pageOf(r)
	var jobs []queue.Job
	if err == nil {
		jobs, err = s.Queue.Page(r.Context(), page)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	if len(jobs) == page.Limit && jobs[len(jobs)-1].ID > 1 {
		next := r.URL.Query()
		next.Set("before", strconv.FormatInt(jobs[len(jobs)-1].ID, 10))
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.Path, next.Encode()))
	}
	s.reply(w, list(jobs))
}

// pageOf returns which jobs a request is for.
func pageOf(r *http.Request) (p queue.Page, err error) {
	if p.Before, err = integer(r, "before"); err != nil {
		return p, err
	}
	limit, err := integer(r, "limit")
	if err != nil {
		return p, err
	}
	if limit < 0 || limit > queue.MaxPage {
		return p, pi.InvalidField("limit", fmt.Errorf("limit: got %d; want 1 to %d jobs", limit, queue.MaxPage))
	}
	p.Limit = int(cmp.Or(limit, queue.MaxPage))
	for _, state := range r.URL.Query()["state"] {
		p.States = append(p.States, queue.State(state))
	}
	if i := slices.IndexFunc(p.States, func(state queue.State) bool { return !slices.Contains(jobStates, state) }); i >= 0 {
		return p, pi.InvalidField("state", fmt.Errorf("state: got %.40q; want some of %v", p.States[i], jobStates))
	}
	return p, nil
}

var jobStates = []queue.State{queue.Queued, queue.Running, queue.Publishing, queue.Done, queue.Failed, queue.Cancelled}

func (s *Server) showJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	job, err := s.Queue.Job(r.Context(), id)
	if err != nil {
		s.refuse(w, err)
		return
	}
	setETag(w, jobSettings(job))
	s.reply(w, job)
}

// watchJob returns the handler that sends a job each time that it changes.
func (s *Server) watchJob(followers *slots) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.followJob(w, r, followers) }
}

func (s *Server) followJob(w http.ResponseWriter, r *http.Request, followers *slots) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if _, err := s.Queue.Job(r.Context(), id); err != nil {
		s.refuse(w, err)
		return
	}
	done, err := followers.take(clientOf(r))
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer done()
	out := newStream(w)
	for job, err := range s.Queue.Watch(r.Context(), id) {
		if err == nil {
			err = out.send(job)
		}
		if err != nil {
			s.Log.Debug("watching ended", "component", "web", "err", err)
			return
		}
	}
}

// Submitted answers the submission of a video.
type Submitted struct {
	Job     queue.Job `json:"job"`
	Existed bool      `json:"existed"` // the job is an earlier one for the same video with the same options
}

func (s *Server) submitJob(w http.ResponseWriter, r *http.Request) {
	var request transcode.Request
	if err := decode(w, r, &request); err != nil {
		s.refuse(w, err)
		return
	}
	force, err := boolean(r, "force")
	if err != nil {
		s.refuse(w, err)
		return
	}
	dry, err := boolean(r, "dry_run")
	if err != nil {
		s.refuse(w, err)
		return
	}
	if dry {
		s.preview(w, r, request)
		return
	}
	submit := s.Queue.Submit
	if force {
		submit = s.Queue.SubmitAgain
	}
	job, existed, err := submit(r.Context(), request)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, Submitted{Job: job, Existed: existed})
}

// previewWait is how long a preview waits for a worker that reads the source.
const previewWait = 30 * time.Second

// preview answers with what a request would make.
func (s *Server) preview(w http.ResponseWriter, r *http.Request, request transcode.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), previewWait)
	defer cancel()
	preview, err := s.Queue.Preview(ctx, request)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, preview)
}

// cancelJob cancels a job or, with the parameter remove, deletes one that has
// ended.
func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	remove, err := boolean(r, "remove")
	if err != nil {
		s.refuse(w, err)
		return
	}
	end, read := s.Queue.Cancel, s.Queue.Job
	job, err := queue.Job{}, error(nil)
	if remove {
		job, err = read(r.Context(), id)
		if end = s.Queue.Remove; err == nil {
			err = end(r.Context(), id)
		}
	} else if err = end(r.Context(), id); err == nil {
		job, err = read(r.Context(), id)
	}
	s.replyJob(w, job, err)
}

func (s *Server) replyJob(w http.ResponseWriter, job queue.Job, err error) {
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, job)
}

func (s *Server) changeJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	var change queue.Change
	if err == nil {
		err = decode(w, r, &change)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	var job queue.Job
	current := func() (any, error) {
		job, err := s.Queue.Job(r.Context(), id)
		return jobSettings(job), err
	}
	err = s.ifUnchanged(r, current, func() (err error) {
		job, err = s.Queue.Change(r.Context(), id, change)
		return err
	})
	if err == nil {
		setETag(w, jobSettings(job))
	}
	s.replyJob(w, job, err)
}

func (s *Server) retryJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	job, existed, err := s.Queue.Retry(r.Context(), id)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, Submitted{Job: job, Existed: existed})
}

// Drained reports whether a board or another machine is drained.
type Drained struct {
	Pi      string `json:"pi"` // the name of either
	Drained bool   `json:"drained"`
	Job     int64  `json:"job,omitempty"` // the job of its current unit; 0: none
	Unit    string `json:"unit,omitempty"`
}

// drainPi drains or undrains a board or another machine. A drained one finishes its
// unit and accepts no more.
func (s *Server) drainPi(w http.ResponseWriter, r *http.Request) {
	name, key, err := s.findWorker(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	on := r.Method != http.MethodDelete
	if err := s.Queue.Drain(r.Context(), key, on); err != nil {
		s.refuse(w, err)
		return
	}
	worker := s.workers()[key]
	s.reply(w, Drained{Pi: name, Drained: on, Job: worker.Job, Unit: worker.Unit})
}

func jobID(r *http.Request) (int64, error) { return number(r, "job") }

// number returns the number of the job or operation that a request is about.
func number(r *http.Request, of string) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, pi.InvalidField("id", fmt.Errorf("%.100q is not the number of one %s; want one from 1", r.PathValue("id"), of))
	}
	return id, nil
}
