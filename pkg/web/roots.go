package web

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
)

// A RootChange selects the root that replaces a board's own: a clone of Template,
// an archived root if Rollback is set, or else a clone of its current template
// version.
type RootChange struct {
	Template string `json:"template,omitempty"` // NAME or NAME@VERSION
	Clone    string `json:"clone,omitempty"`    // the clone method, as rootfs names it; "" means that of the board's root
	Rollback bool   `json:"rollback,omitempty"`
	Kept     string `json:"kept,omitempty"`  // name of the archived root; "" means the latest
	Force    bool   `json:"force,omitempty"` // even if the board is running
}

func (s *Server) changeRoot(w http.ResponseWriter, r *http.Request) {
	var change RootChange
	if err := decode(w, r, &change); err != nil {
		s.refuse(w, err)
		return
	}
	ref := r.PathValue("ref")
	if err := s.checkIdle(ref, change.Force); err != nil {
		s.refuse(w, err)
		return
	}
	replySteps(s, w, func(progress rootfs.Progress) (fleet.Replaced, registry.Pi, error) {
		if change.Rollback {
			replaced, err := s.Fleet.Rollback(r.Context(), ref, change.Kept)
			return replaced, replaced.Pi, err
		}
		replaced, err := s.Fleet.Reset(r.Context(), ref, change.Template, change.Clone, progress)
		return replaced, replaced.Pi, err
	})
}

// checkIdle refuses to replace the root of a running board unless force is set.
func (s *Server) checkIdle(ref string, force bool) error {
	board, err := s.Registry.Find(ref)
	if err != nil || force {
		return err
	}
	if s.workers()[board.Serial.String()].Online {
		return pi.Conflicting("", fmt.Errorf("%s is running, and would lose its root at once; shut it down first, or give --force and power-cycle it", board.Name))
	}
	return nil
}

func (s *Server) listKept(w http.ResponseWriter, r *http.Request) {
	serial, err := s.everRegistered(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	kept, err := s.Roots.Archived(serial)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(kept))
}

func (s *Server) removeKept(w http.ResponseWriter, r *http.Request) {
	serial, err := s.everRegistered(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	kept, err := s.Roots.FindArchived(serial, r.PathValue("name"))
	if errors.Is(err, fs.ErrNotExist) {
		err = missing("name", err)
	}
	if err == nil {
		err = s.Roots.RemoveArchived(kept)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, kept)
}

// everRegistered returns the serial number of a board. If ref is a serial number,
// the board need not be registered any more.
func (s *Server) everRegistered(ref string) (pi.Serial, error) {
	board, err := s.Registry.Find(ref)
	if err == nil {
		return board.Serial, nil
	}
	if serial, notSerial := pi.ParseSerial(ref); notSerial == nil {
		return serial, nil
	}
	return 0, err
}

func (s *Server) drift(w http.ResponseWriter, r *http.Request) {
	replySteps(s, w, func(progress rootfs.Progress) ([]filetree.Change, registry.Pi, error) {
		board, changes, err := s.Fleet.Drift(r.Context(), r.PathValue("ref"), progress)
		return append([]filetree.Change{}, changes...), board, err
	})
}
