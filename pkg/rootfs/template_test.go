package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/rootfs/roottest"
	"pibootd/pkg/rootfs/stage"
)

// publishOne puts a template with one file into place.
func publishOne(t *testing.T, templates *Templates, name string) Template {
	t.Helper()
	s, err := stage.New(templates.Dir)
	if err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"root/file": name}.Make(t, s.Tree())
	made, err := templates.publish(s, Template{Name: name})
	if err := errors.Join(err, s.Discard()); err != nil {
		t.Fatal(err)
	}
	return made
}

func refs(t *testing.T, templates *Templates) []string {
	t.Helper()
	all, err := templates.List()
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, have := range all {
		refs = append(refs, have.String())
	}
	return refs
}

func TestTemplates(t *testing.T) {
	// A directory that would be a pattern, were it not quoted.
	templates := &Templates{Dir: filepath.Join(t.TempDir(), "state[1]*", "templates")}
	if all, err := templates.List(); err != nil || all != nil {
		t.Errorf("List of nothing = %v, %v", all, err)
	}
	if _, err := templates.Find("minimal"); !errors.Is(err, ErrNoTemplate) || !strings.Contains(err.Error(), "template build") {
		t.Errorf("Find in nothing = %v; want ErrNoTemplate and what to do", err)
	}
	for _, name := range []string{"minimal", "full", "minimal"} {
		publishOne(t, templates, name)
	}
	for range 9 {
		publishOne(t, templates, "many")
	}
	tenth := publishOne(t, templates, "many")
	want := []string{"full@1", "many@1", "many@2", "many@3", "many@4", "many@5", "many@6", "many@7", "many@8", "many@9", "many@10", "minimal@1", "minimal@2"}
	if diff := cmp.Diff(want, refs(t, templates)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for ref, want := range map[string]string{"minimal": "minimal@2", "minimal@1": "minimal@1", "many": "many@10", "full": "full@1"} {
		got, err := templates.Find(ref)
		if err != nil || got.String() != want {
			t.Errorf("Find(%s) = %s, %v; want %s", ref, got, err, want)
		}
		if roottest.ReadFile(t, templates.Root(got), "file") != got.Name || got.tree != templates.Root(got) {
			t.Errorf("Root(%s) = %s, tree %s; want its files", got, templates.Root(got), got.tree)
		}
	}
	for _, ref := range []string{"minimal@3", "none", "minimal@x", "minimal@0", "", "../minimal"} {
		if got, err := templates.Find(ref); err == nil {
			t.Errorf("Find(%q) = %v; want an error", ref, got)
		}
	}
	if err := templates.Remove(tenth); err != nil {
		t.Fatal(err)
	}
	if got, err := templates.Find("many"); err != nil || got.Version != 9 {
		t.Errorf("after Remove(many@10) Find(many) = %v, %v; want many@9", got, err)
	}
	if again := publishOne(t, templates, "many"); again.Version != 11 {
		t.Errorf("version after a removed 10 = %d; want 11, never 10 again", again.Version)
	}
	if mode := dirMode(t, templates.Dir); mode != 0o700 {
		t.Errorf("templates directory has mode %o; want 700", mode)
	}
}

func dirMode(t *testing.T, dir string) os.FileMode {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestSweepLeavesWhatIsBeingMade(t *testing.T) {
	templates := &Templates{Dir: t.TempDir()}
	dead, err := stage.New(templates.Dir)
	if err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"root/file": "half", "template.json": "{}"}.Make(t, dead.Tree())
	if err := dead.Lock.Close(); err != nil { // as the kernel does for a killed process
		t.Fatal(err)
	}
	alive, err := stage.New(templates.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := refs(t, templates); got != nil {
		t.Errorf("List shows %v; want nothing half made", got)
	}
	if err := templates.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stage of a dead process: %v; want it swept", err)
	}
	if _, err := os.Stat(alive.Path); err != nil {
		t.Errorf("stage in use: %v; want it left alone", err)
	}
	if err := errors.Join(alive.Discard(), (&Templates{Dir: filepath.Join(t.TempDir(), "none")}).Sweep()); err != nil {
		t.Error(err)
	}
}

func TestTemplateNames(t *testing.T) {
	for _, name := range []string{"minimal", "raspios-12.5", "a"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".staging", "a/b", "..", "A", "a@1", "-x", "a b", strings.Repeat("a", 64)} {
		if err := CheckName(name); err == nil {
			t.Errorf("CheckName(%q) = nil; want an error", name)
		}
	}
}
