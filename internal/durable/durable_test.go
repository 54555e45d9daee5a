package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	for text, perm := range map[string]fs.FileMode{"one": 0o600, "another": 0o644} {
		if err := WriteFile(name, []byte(text), perm); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != text {
			t.Errorf("the file has %q, %v; want %q", got, err, text)
		}
		if info, err := os.Stat(name); err != nil || info.Mode() != perm {
			t.Errorf("the file is %v, %v; want mode %v", info, err, perm)
		}
	}
	wantNames(t, dir, "f")
}

// A file that cannot be replaced stays as it is, and nothing is left beside it.
func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "d")
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(name, []byte("x"), 0o644); err == nil {
		t.Error("WriteFile over a directory = nil; want an error")
	}
	wantNames(t, dir, "d")
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile = %v; want %v", err, fs.ErrNotExist)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want) {
		t.Fatalf("%s has %v, %v; want %v", dir, entries, err, want)
	}
	for i, e := range entries {
		if e.Name() != want[i] {
			t.Errorf("%s has %s; want %s", dir, e.Name(), want[i])
		}
	}
}
