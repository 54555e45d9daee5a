package filetree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/rootfs/roottest"
)

func TestManifest(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{"a": "one", "b": "two", "gone": "x", "link": "-> a", "odd \n\"\xff name": "odd"}.Make(t, dir)
	made, err := Scan(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "manifest")
	if err := WriteManifest(file, made); err != nil {
		t.Fatal(err)
	}
	read, err := LoadManifest(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, read); diff != "" {
		t.Errorf("manifest (-written +read):\n%s", diff)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "a"), []byte("ONE"), 0o644),
		os.Chmod(filepath.Join(dir, "b"), 0o600),
		os.Remove(filepath.Join(dir, "gone")),
		os.Remove(filepath.Join(dir, "link")),
		os.Symlink("b", filepath.Join(dir, "link")),
		os.WriteFile(filepath.Join(dir, "new"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	is, err := Scan(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Change{{"a", "changed: content"}, {"b", "changed: mode"}, {"gone", "removed"}, {"link", "changed: content"}, {"new", "added"}}
	if diff := cmp.Diff(want, Compare(read, is)); diff != "" {
		t.Errorf("compare (-want +got):\n%s", diff)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add("100644 0:0 0 abc - \"etc/x\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseManifest(strings.NewReader(text))
		if err == nil && len(Compare(m, m)) != 0 {
			t.Error("a manifest differs from itself")
		}
	})
}
