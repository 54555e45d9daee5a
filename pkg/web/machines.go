package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/queue"
)

// A Machine is a worker that is no board, with what is known of it right now.
type Machine struct {
	registry.Machine
	Online   bool          `json:"online"`
	Worker   *queue.Worker `json:"worker,omitempty"`   // nil: it has not said hello since the daemon started
	LastSeen time.Time     `json:"last_seen,omitzero"` // zero: never
}

// A NewMachine is what a user says of a machine to be added.
type NewMachine struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels,omitempty"`
	Weight float64  `json:"weight,omitzero"`
}

// A MachineEdit is what to change of a machine; nil leaves it.
type MachineEdit struct {
	Labels *[]string `json:"labels,omitempty"`
	Weight *float64  `json:"weight,omitempty"`
}

// An AddedMachine is a new machine with what its worker has to be started with.
type AddedMachine struct {
	registry.Machine
	Token  string `json:"token"`  // told this once
	Server string `json:"server"` // host and port of the public door
}

func (s *Server) listMachines(w http.ResponseWriter, r *http.Request) {
	machines := []Machine{}
	workers := s.workers()
	for _, m := range s.Registry.Machines() {
		machine, err := s.describeMachine(r, m, workers)
		if err != nil {
			s.refuse(w, err)
			return
		}
		machines = append(machines, machine)
	}
	s.reply(w, machines)
}

func (s *Server) showMachine(w http.ResponseWriter, r *http.Request) {
	m, err := s.Registry.FindMachine(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	machine, err := s.describeMachine(r, m, s.workers())
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, machine)
}

// describeMachine takes what is older than m for that of another machine, which
// had the same name.
func (s *Server) describeMachine(r *http.Request, m registry.Machine, workers map[string]queue.Worker) (Machine, error) {
	out := Machine{Machine: m}
	if worker, ok := workers[m.Name]; ok && worker.LastSeen.After(m.Added) {
		out.Worker, out.Online, out.LastSeen = &worker, worker.Online, worker.LastSeen
		return out, nil
	}
	last, ok, err := s.Timeline.Last(r.Context(), m.Name)
	if ok && last.At.After(m.Added) && last.Kind != timeline.Added {
		out.LastSeen = last.At
	}
	return out, err
}

func (s *Server) addMachine(w http.ResponseWriter, r *http.Request) {
	var asked NewMachine
	if err := decode(w, r, &asked); err != nil {
		s.refuse(w, err)
		return
	}
	m, token, err := s.Fleet.AddMachine(r.Context(), registry.Machine{Name: asked.Name, Labels: asked.Labels, Weight: asked.Weight})
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, AddedMachine{m, token, s.Info.address()})
}

// address is where other machines find the public door.
func (i Info) address() string {
	network, err := netip.ParsePrefix(i.Network)
	if err != nil {
		return ""
	}
	return netip.AddrPortFrom(network.Addr(), uint16(i.HTTPPort)).String()
}

func (s *Server) editMachine(w http.ResponseWriter, r *http.Request) {
	var edit MachineEdit
	if err := decode(w, r, &edit); err != nil {
		s.refuse(w, err)
		return
	}
	m, err := s.Registry.UpdateMachine(r.Context(), r.PathValue("ref"), func(m *registry.Machine) {
		if edit.Labels != nil {
			m.Labels = *edit.Labels
		}
		if edit.Weight != nil {
			m.Weight = *edit.Weight
		}
	})
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.Queue.Relabel()
	s.reply(w, m)
}

// removeMachine removes a machine, and what the queue knows of it: a later machine
// of that name is another one.
func (s *Server) removeMachine(w http.ResponseWriter, r *http.Request) {
	m, err := s.Fleet.RemoveMachine(r.Context(), r.PathValue("ref"))
	if err == nil {
		err = s.Queue.Drain(r.Context(), m.Name, false)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, m)
}

// findWorker returns what a board's worker or another machine's is called by
// people and by the queue.
func (s *Server) findWorker(ref string) (name, worker string, err error) {
	board, boardErr := s.Registry.Find(ref)
	if boardErr == nil {
		return board.Name, board.Serial.String(), nil
	}
	m, err := s.Registry.FindMachine(ref)
	if errors.Is(err, registry.ErrNoMachine) {
		return "", "", fmt.Errorf("%w; or one of pibootd list-workers", boardErr)
	}
	return m.Name, m.Name, err
}
