package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) {
	jobs, err := s.Queue.Jobs(r.Context())
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	s.reply(w, jobs)
}

func (s *Server) showJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	job, err := s.Queue.Job(r.Context(), id)
	if err != nil {
		s.refuse(w, statusOf(err), err)
		return
	}
	s.reply(w, job)
}

func (s *Server) watchJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	if _, err := s.Queue.Job(r.Context(), id); err != nil {
		s.refuse(w, statusOf(err), err)
		return
	}
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

// Submitted is the answer to a submitted video.
type Submitted struct {
	Job     queue.Job `json:"job"`
	Existed bool      `json:"existed"` // the same video with the same options was waiting or running already
}

func (s *Server) submitJob(w http.ResponseWriter, r *http.Request) {
	var request transcode.Request
	if err := decode(w, r, &request); err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	job, existed, err := s.Queue.Submit(r.Context(), request)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	s.reply(w, Submitted{Job: job, Existed: existed})
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) {
	id, err := jobID(r)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	if err := s.Queue.Cancel(r.Context(), id); err != nil {
		s.refuse(w, statusOf(err), err)
		return
	}
	job, err := s.Queue.Job(r.Context(), id)
	if err != nil {
		s.refuse(w, statusOf(err), err)
		return
	}
	s.reply(w, job)
}

func jobID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, fmt.Errorf("%q is not a job's number", r.PathValue("id"))
	}
	return id, nil
}

func statusOf(err error) int {
	if errors.Is(err, queue.ErrNoJob) {
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
