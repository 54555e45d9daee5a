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

// A Machine is a worker that is not a board, with its current state.
type Machine struct {
	registry.Machine
	Online   bool          `json:"online"`
	Worker   *queue.Worker `json:"worker,omitempty"`   // nil: no hello since the daemon started
	LastSeen time.Time     `json:"last_seen,omitzero"` // zero: never
}

// A NewMachine describes a machine to be added.
type NewMachine struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels,omitempty"`
	Weight float64  `json:"weight,omitzero"`
}

// A MachineEdit is a change of a machine; nil leaves a field as it is.
type MachineEdit struct {
	Labels *[]string `json:"labels,omitempty"`
	Weight *float64  `json:"weight,omitempty"`
}

// An AddedMachine is a new machine with the parameters for its worker.
type AddedMachine struct {
	registry.Machine
	Token  string `json:"token"`  // shown only in this answer
	Server string `json:"server"` // host and port of the public listener
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
	setETag(w, m)
	s.reply(w, machine)
}

// describeMachine adds the current state to m. It ignores what is older than m,
// because that concerns another machine, which had the same name.
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

// address returns host and port at which other machines reach the public listener.
func (i Info) address() string {
	addr := i.addr()
	if !addr.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(addr, uint16(i.HTTPPort)).String()
}

// addr returns this machine's address, invalid if it is not known.
func (i Info) addr() netip.Addr {
	network, _ := netip.ParsePrefix(i.Network)
	return network.Addr()
}

func (s *Server) editMachine(w http.ResponseWriter, r *http.Request) {
	var edit MachineEdit
	if err := decode(w, r, &edit); err != nil {
		s.refuse(w, err)
		return
	}
	var m registry.Machine
	current := func() (any, error) { return s.Registry.FindMachine(r.PathValue("ref")) }
	err := s.ifUnchanged(r, current, func() (err error) {
		m, err = s.Registry.UpdateMachine(r.Context(), r.PathValue("ref"), func(m *registry.Machine) {
			if edit.Labels != nil {
				m.Labels = *edit.Labels
			}
			if edit.Weight != nil {
				m.Weight = *edit.Weight
			}
		})
		return err
	})
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.Queue.Relabel()
	setETag(w, m)
	s.reply(w, m)
}

// removeMachine removes a machine, and what the queue knows about it, because a
// later machine of that name is a different one.
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

// findWorker returns the name of a board or of another machine, and the name of its
// worker in the queue.
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
