//go:build e2e

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/backup"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs/filetree"
)

// A backup that was made while the daemon runs is a whole installation
// elsewhere, with the same boards, roots, videos and jobs.
func TestBackup(t *testing.T) {
	l := newLab(t)
	l.buildTemplate(t)
	l.serve(t)
	l.pibootd(t, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "kept", "--ip", "10.77.0.50", "--clone", "copy")
	l.pibootd(t, "add-pi", "--mac", "b8:27:eb:33:34:7b", "--serial", "3333347b", "--ip", "10.77.0.51", "--clone", "overlay")
	changed := filepath.Join(l.state, "roots/3333347b/etc/changed by the board")
	video := filepath.Join(l.state, "media/published/film.m3u8")
	if err := errors.Join(os.WriteFile(changed, []byte("x"), 0o640), os.MkdirAll(filepath.Dir(video), 0o755), os.WriteFile(video, []byte("#EXTM3U\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	boards, roots := decode[[]registry.Pi](t, l, "list-pis"), l.rootManifests(t)

	dir := t.TempDir()
	plain, sealed, phrase := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed"), filepath.Join(dir, "phrase")
	if err := os.WriteFile(phrase, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.pibootd(t, "backup", "--media", plain)
	l.pibootd(t, "backup", "--passphrase-file", phrase, sealed)
	wantIn(t, l.pibootd(t, "backup", "verify", plain), "whole: 2 boards and 1 template of ", ", and the media share, made ")
	wantIn(t, l.pibootd(t, "backup", "verify", "--passphrase-file", phrase, sealed), "whole: 2 boards and 1 template")
	_, said, err := l.try(t, "backup", plain)
	wantRefused(t, err, said, plain+" exists; want the name of a new file")
	_, said, err = l.try(t, "backup", "verify", sealed)
	wantRefused(t, err, said, "it is sealed; want the passphrase or the identity that opens it")

	l.keepsSome(t)

	l.daemon.end(t, syscall.SIGTERM)
	l.unmountRoots(t)
	_, said, err = l.try(t, "restore", plain)
	wantRefused(t, err, said, l.state+" is not empty; want a directory that does not exist")
	l.state = filepath.Join(dir, "new")
	l.refuseDamaged(t, plain)
	out := l.pibootd(t, "restore", plain)
	wantIn(t, out, "restored 2 boards and 1 template", "Boards that ran meanwhile have to be started again")
	l.resumes(t)
	l.serve(t)
	if is := decode[[]registry.Pi](t, l, "list-pis"); !equalBoards(is, boards) {
		t.Errorf("the boards are %v; want %v", is, boards)
	}
	for serial, was := range roots {
		if changes := filetree.Compare(was, l.rootManifests(t)[serial]); len(changes) > 0 {
			t.Errorf("the root of %s is another one: %v", serial, changes)
		}
	}
	if text, err := os.ReadFile(filepath.Join(l.state, "media/published/film.m3u8")); string(text) != "#EXTM3U\n" {
		t.Errorf("the published video is %q, %v", text, err)
	}
}

// keepsSome backs up to a directory, in which only the last backups of this machine are kept.
func (l *lab) keepsSome(t *testing.T) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, second, other, text := "pibootd-"+host+"-20250101-000000.backup", "pibootd-"+host+"-20250102-000000.backup", "pibootd-another-20250101-000000.backup", "pibootd-"+host+"-notes"
	for _, name := range []string{first, second, other, text} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.pibootd(t, "backup", "--keep", "2", dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) != 4 || slices.Contains(names, first) || !slices.Contains(names, second) || !slices.Contains(names, other) || !slices.Contains(names, text) {
		t.Errorf("the directory has %q; want all but %s, and a new backup", names, first)
	}
}

// refuseDamaged restores damaged copies of a backup, which has to leave nothing.
func (l *lab) refuseDamaged(t *testing.T, file string) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"cut off": whole[:len(whole)*2/3], "without its last byte": whole[:len(whole)-1], "with a wrong bit": flipped, "another file": []byte("hello"), "empty": nil} {
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(copied, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, said, err := l.try(t, "restore", copied); err == nil || !strings.Contains(said, "pibootd: backup: ") {
			t.Errorf("restoring a backup %s: %v: %s", name, err, said)
		}
		for _, left := range []string{l.state, l.state + ".restoring"} {
			if _, err := os.Lstat(left); err == nil {
				t.Errorf("restoring a backup %s left %s", name, left)
			}
		}
	}
}

// A restore that was interrupted is finished before the daemon serves.
func (l *lab) resumes(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(l.state, backup.Unfinished), 0o700); err != nil {
		t.Fatal(err)
	}
	_, said, err := l.try(t, "serve", "--interface", "br0", "--state-dir", l.state)
	wantRefused(t, err, said, "hint: pibootd restore --resume")
	l.pibootd(t, "restore", "--resume")
}

func (l *lab) rootManifests(t *testing.T) map[string]filetree.Manifest {
	t.Helper()
	all := map[string]filetree.Manifest{}
	for _, serial := range []string{"3333347a", "3333347b"} {
		m, err := filetree.Scan(t.Context(), filepath.Join(l.state, "roots", serial), nil)
		if err != nil {
			t.Fatal(err)
		}
		all[serial] = m
	}
	return all
}

func equalBoards(a, b []registry.Pi) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Serial != b[i].Serial || a[i].MAC != b[i].MAC || a[i].IP != b[i].IP || a[i].Name != b[i].Name || a[i].Root != b[i].Root {
			return false
		}
	}
	return true
}

func wantIn(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("want %q in\n%s", text, out)
		}
	}
}

func wantRefused(t *testing.T, err error, said, want string) {
	t.Helper()
	if err == nil || !strings.Contains(said, want) {
		t.Errorf("it ended with %v and said\n%swant %q", err, said, want)
	}
}
