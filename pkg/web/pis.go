package web

import (
	"fmt"
	"net/http"
	"strconv"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/queue"
)

// A Pi is a board with its current state.
type Pi struct {
	registry.Pi
	Online    bool                `json:"online"`           // whether its worker is online
	Worker    *queue.Worker       `json:"worker,omitempty"` // nil: its worker never said hello
	Last      *timeline.Event     `json:"last,omitempty"`   // the newest
	Diagnosis diagnosis.Diagnosis `json:"diagnosis"`
	Boot      *fleet.BootFiles    `json:"boot,omitempty"` // the files that it would be served; only for a single board

	Mismatches []bootcheck.Mismatch `json:"mismatches,omitempty"` // boot files that do not match its root; only for a single board
	Problem    string               `json:"problem,omitempty"`    // why Boot and Mismatches are unknown; only for a single board
}

func (s *Server) listPis(w http.ResponseWriter, r *http.Request) {
	boards := []Pi{}
	workers := s.workers()
	for _, board := range s.Registry.All() {
		described, err := s.describe(r, board, workers)
		if err != nil {
			s.refuse(w, err)
			return
		}
		boards = append(boards, described)
	}
	s.reply(w, boards)
}

// workers returns the workers that have said hello, by name.
func (s *Server) workers() map[string]queue.Worker {
	byName := map[string]queue.Worker{}
	for _, worker := range s.Queue.Workers() {
		byName[worker.Name] = worker
	}
	return byName
}

func (s *Server) describe(r *http.Request, board registry.Pi, workers map[string]queue.Worker) (Pi, error) {
	out := Pi{Pi: board}
	if worker, ok := workers[board.Serial.String()]; ok {
		out.Worker, out.Online = &worker, worker.Online
	}
	last, ok, err := s.Timeline.Last(r.Context(), board.Serial.String())
	if ok {
		out.Last = &last
	}
	if err == nil {
		out.Diagnosis, err = s.Diagnoses.Of(r.Context(), board)
	}
	return out, err
}

func (s *Server) showPi(w http.ResponseWriter, r *http.Request) {
	board, err := s.Registry.Find(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	described, err := s.describe(r, board, s.workers())
	if err != nil {
		s.refuse(w, err)
		return
	}
	// A board whose root is broken must still be shown, so that it can be removed.
	files, err := s.Fleet.BootFiles(board)
	if err == nil {
		described.Boot = &files
		described.Mismatches, err = s.Roots.CheckBoot(board.Serial, "")
	}
	if err != nil {
		described.Problem = err.Error()
	}
	setETag(w, board)
	s.reply(w, described)
}

func (s *Server) listDiscovered(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, list(s.Registry.Discovered()))
}

func (s *Server) addPi(w http.ResponseWriter, r *http.Request) {
	var request fleet.Request
	if err := decode(w, r, &request); err != nil {
		s.refuse(w, err)
		return
	}
	replySteps(s, w, func(progress rootfs.Progress) (fleet.Added, registry.Pi, error) {
		added, err := s.Fleet.Add(r.Context(), request, progress)
		return added, added.Pi, err
	})
}

func (s *Server) editPi(w http.ResponseWriter, r *http.Request) {
	var edit fleet.Edit
	if err := decode(w, r, &edit); err != nil {
		s.refuse(w, err)
		return
	}
	if err := s.checkAddress(r.PathValue("ref"), edit); err != nil {
		s.refuse(w, err)
		return
	}
	var edited fleet.Edited
	current := func() (any, error) { return s.Registry.Find(r.PathValue("ref")) }
	err := s.ifUnchanged(r, current, func() (err error) {
		edited, err = s.Fleet.Edit(r.Context(), r.PathValue("ref"), edit)
		return err
	})
	if err != nil {
		s.refuse(w, err)
		return
	}
	if edit.Sets("labels") {
		s.Queue.Relabel()
	}
	setETag(w, edited.Pi)
	s.reply(w, edited)
}

// checkAddress refuses to change the address of a running board.
func (s *Server) checkAddress(ref string, edit fleet.Edit) error {
	board, err := s.Registry.Find(ref)
	if err != nil || edit.IP == nil || *edit.IP == board.IP {
		return err
	}
	return s.checkIdle(ref, edit.Force)
}

// Removed answers the removal of a board.
type Removed struct {
	Pi   registry.Pi `json:"pi"`
	Kept string      `json:"kept,omitempty"` // where its root was archived
}

func (s *Server) removePi(w http.ResponseWriter, r *http.Request) {
	keep, err := boolean(r, "keep_root")
	if err != nil {
		s.refuse(w, err)
		return
	}
	board, kept, err := s.Fleet.Remove(r.Context(), r.PathValue("ref"), keep)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, Removed{Pi: board, Kept: kept})
}

// boolean parses a query parameter; a missing one is false.
func boolean(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, pi.InvalidField(name, fmt.Errorf("%s: got %.100q; want true or false", name, text))
	}
	return value, nil
}

// events returns the handler that sends events, or follows them.
func (s *Server) events(followers *slots) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.sendEvents(w, r, followers) }
}

func (s *Server) sendEvents(w http.ResponseWriter, r *http.Request, followers *slots) {
	board, err := s.boardOf(r.URL.Query().Get("board"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	follow, err := boolean(r, "follow")
	if err != nil {
		s.refuse(w, err)
		return
	}
	after, err := integer(r, "after")
	if err != nil {
		s.refuse(w, err)
		return
	}
	if follow {
		s.followEvents(w, r, board, after, followers)
		return
	}
	events, err := s.Timeline.Events(r.Context(), board, after, maxEvents)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(events))
}

// maxEvents is the maximum number of events in an answer; "after" requests the
// rest.
const maxEvents = 1000

// boardOf returns the key of the events of a board, given by name, serial number or
// address, or of another machine, given by name. "" stays, and means all.
func (s *Server) boardOf(ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	_, key, err := s.findWorker(ref)
	if statusOf(err) == http.StatusNotFound {
		err = missing("board", err)
	}
	return key, err
}

func integer(r *http.Request, name string) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, pi.InvalidField(name, fmt.Errorf("%s: got %.100q; want a whole number", name, text))
	}
	return value, nil
}

func (s *Server) followEvents(w http.ResponseWriter, r *http.Request, board string, after int64, followers *slots) {
	done, err := followers.take(clientOf(r))
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer done()
	out := newStream(w)
	for event, err := range s.Timeline.Follow(r.Context(), board, after) {
		if err == nil {
			err = out.send(event)
		}
		if err != nil {
			s.Log.Debug("following ended", "component", "web", "err", err)
			return
		}
	}
}
