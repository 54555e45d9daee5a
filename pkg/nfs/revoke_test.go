package nfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// TestTurnstile: a generation ends with the last of its calls, whatever comes
// after it.
func TestTurnstile(t *testing.T) {
	var s turnstile
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	if !closed(s.next()) {
		t.Error("nobody came, and next waits")
	}
	one, two := s.enter(), s.enter()
	first := s.next()
	later := s.enter()
	s.leave(one)
	if closed(first) {
		t.Error("next ends before all have left that came before it")
	}
	s.leave(two)
	if !closed(first) {
		t.Error("next waits for a call that came after it")
	}
	second := s.next()
	if closed(second) {
		t.Error("next does not wait for a call that came between")
	}
	s.leave(later)
	if !closed(second) || !closed(s.next()) {
		t.Error("all have left, and next waits")
	}
}

// TestRevokeIsBounded: a disk that never answers costs an error, not the
// caller.
func TestRevokeIsBounded(t *testing.T) {
	f := newFileOf(t)
	file, err := inodeOf(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Key: testKey()}
		hung := &tree{server: s, export: Export{ID: 1, Path: "/x"}, dev: file.dev}
		elsewhere := &tree{server: s, export: Export{ID: 2, Path: "/y"}, dev: file.dev + 1}
		readOnly := &tree{server: s, export: Export{ID: 3, Path: "/z", ReadOnly: true}, dev: file.dev}
		for _, tr := range []*tree{hung, elsewhere, readOnly} {
			if _, err := s.exports.put(tr); err != nil {
				t.Fatal(err)
			}
		}
		elsewhere.changing.enter()
		readOnly.changing.enter()
		if err := s.Revoke(f); err != nil {
			t.Errorf("Revoke = %v; want nil: no call can hold this file", err)
		}
		hung.changing.enter()
		if err := s.Revoke(f); !errors.Is(err, errStillRunning) {
			t.Errorf("Revoke = %v; want %v", err, errStillRunning)
		}
	})
}

func TestRevokeRefuses(t *testing.T) {
	s := &Server{Key: testKey()}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := s.Revoke(dir); err == nil || !strings.Contains(err.Error(), "want a regular file") {
		t.Errorf("Revoke of a directory = %v", err)
	}
	f := newFileOf(t)
	f.Close()
	if err := s.Revoke(f); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Revoke of a closed file = %v", err)
	}
}

func newFileOf(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
