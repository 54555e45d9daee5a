package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/roottest"
	"pibootd/pkg/rootfs/stage"
)

// A hostile is what a board makes of its root, and what pibootd says of that when
// it updates the worker there; "" where it need not care.
type hostile struct {
	make func(dir string) error
	says string
}

func replaceBy(file string, make func(path string) error) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, file)
		return errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Dir(path), 0o755), make(path))
	}
}

func linkTo(target string) func(string) error {
	return func(path string) error { return os.Symlink(target, path) }
}

func fifo(path string) error { return unix.Mkfifo(path, 0o644) }

func fullDir(path string) error { return os.MkdirAll(filepath.Join(path, "full"), 0o755) }

// hostiles are what boards make of their roots. outside is a directory that is a
// canary: whatever leads there must not be followed.
func hostiles(outside string) map[string]hostile {
	up := strings.Repeat("../", 40) + outside[1:]
	return map[string]hostile{
		"etc/pibootd leads out, by ..":       {replaceBy("etc/pibootd", linkTo(up)), "open etc/pibootd/worker.json: no such file"},
		"etc/pibootd leads out, absolutely":  {replaceBy("etc/pibootd", linkTo(outside)), "open etc/pibootd/worker.json: no such file"},
		"etc leads out":                      {replaceBy("etc", linkTo(outside)), "no such file"},
		"usr/lib/pibootd leads out":          {replaceBy("usr/lib/pibootd", linkTo(up)), "usr/lib/pibootd is a symbolic link to nothing"},
		"the root's etc is a link to itself": {replaceBy("etc", linkTo("etc")), "too many levels of symbolic links"},
		"worker.json leads out":              {replaceBy(images.WorkerConfigFile, linkTo(filepath.Join(outside, "worker.json"))), "no such file"},
		"worker.json leads to shadow":        {replaceBy(images.WorkerConfigFile, linkTo("../../../../../etc/shadow")), "is no JSON object; pibootd reset-pi"},
		"worker.json is a fifo":              {replaceBy(images.WorkerConfigFile, fifo), images.WorkerConfigFile + ": got a named pipe; want a regular file"},
		"worker.json is a directory":         {replaceBy(images.WorkerConfigFile, fullDir), images.WorkerConfigFile + ": got a directory; want a regular file"},
		"worker.json is endless":             {replaceBy(images.WorkerConfigFile, func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) }), "got 1099511627776 bytes; want a file of at most"},
		"worker.json is null":                {replaceBy(images.WorkerConfigFile, func(path string) error { return os.WriteFile(path, []byte("null"), 0o600) }), "is no JSON object; pibootd reset-pi"},
		"worker.json is gone":                {replaceBy(images.WorkerConfigFile, func(string) error { return nil }), "reset-pi gives the board a new one"},
		"the program is a directory":         {replaceBy(images.WorkerFile, fullDir), images.WorkerFile + ": got a directory; want a regular file, or nothing: remove it"},
		"the program leads out":              {replaceBy(images.WorkerFile, linkTo(filepath.Join(outside, "kept"))), ""},
		"the program is a fifo":              {replaceBy(images.WorkerFile, fifo), ""},
		"a fifo where it is written":         {replaceBy("usr/lib/pibootd/.pibootd-worker.new", fifo), ""},
		"a link where it is written":         {replaceBy("etc/pibootd/.worker.json.new", linkTo(filepath.Join(outside, "new"))), ""},
		"a directory where it is written":    {replaceBy("usr/lib/pibootd/.pibootd-worker.new", fullDir), ".pibootd-worker.new is in the way; remove it"},
		"a directory where it is kept":       {replaceBy(images.FormerWorkerFile, fullDir), ""},
		"etc/hostname leads out":             {replaceBy("etc/hostname", linkTo(filepath.Join(outside, "kept"))), ""},
		"etc/hosts is a fifo":                {replaceBy("etc/hosts", fifo), ""},
		"boot is a fifo":                     {replaceBy("boot", fifo), ""},
		"boot leads out":                     {replaceBy("boot", linkTo(up)), ""},
		"config.txt is a fifo":               {replaceBy("boot/firmware/config.txt", fifo), ""},
		"a kernel of holes":                  {replaceBy("boot/firmware/kernel8.img", func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<43)) }), ""},
		"a file of holes":                    {replaceBy("srv/holes", func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<43)) }), ""},
		"many directories in one another":    {replaceBy("deep", func(path string) error { return roottest.DeepDir(path, 3000) }), ""},
	}
}

// hostileRoot makes the root of a board that has done everything that its own
// worker needs, and a template that it can be compared with.
func hostileRoot(t *testing.T) (r *Roots, templates *Templates, of Template) {
	t.Helper()
	state := t.TempDir()
	r = testRoots(t, filepath.Join(state, "roots"))
	formerRoot(t, r)
	roottest.Small().Make(t, r.Path(updatedSerial))
	templates, of = templateOf(t, filepath.Join(state, "templates"))
	r.Templates = templates
	return r, templates, of
}

// templateOf makes a template that nothing was imported for.
func templateOf(t *testing.T, dir string) (*Templates, Template) {
	t.Helper()
	of := Template{Name: "small", Version: 1, Arch: pi.ARM64}
	templates := &Templates{Dir: dir}
	tree := templates.Root(of)
	roottest.Small().Make(t, tree)
	made, err := filetree.Scan(t.Context(), tree, nil)
	if err == nil {
		err = filetree.WriteManifest(filepath.Join(filepath.Dir(tree), manifestFile), made)
	}
	if err != nil {
		t.Fatal(err)
	}
	return templates, of
}

// canaries are what a hostile root leads to.
func canaries(t *testing.T) string {
	t.Helper()
	outside := t.TempDir()
	roottest.Spec{"kept": "kept", "hostname": "kept", "hosts": "kept", "firmware/config.txt": "kept", "full/kept": "kept"}.Make(t, outside)
	return outside
}

// contents are the names and texts of all files in a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			all[path] = "dir"
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// useRoot does to a board's root all that the daemon does to roots in use.
func useRoot(ctx context.Context, r *Roots, templates *Templates, of Template) error {
	_, checked := r.CheckBoot(updatedSerial, pi.Pi4)
	_, drifted := templates.Drift(ctx, r, updatedSerial, of, nil)
	return errors.Join(
		r.SetHostname(updatedSerial, "pi-other"),
		r.PutVolatileInit(updatedSerial),
		r.FinishSwap(updatedSerial, func(token string) bool { return token == "0123456789abcdef" }),
		checked, drifted,
	)
}

// Whatever a board has made of its root: all that pibootd does there ends, changes
// nothing elsewhere, and says what is wrong. Then the root is kept, made ready to
// come back and removed, which goes by the same rules.
func TestHostileRoot(t *testing.T) {
	outside := canaries(t)
	want := contents(t, outside)
	for name, h := range hostiles(outside) {
		t.Run(name, func(t *testing.T) {
			r, templates, of := hostileRoot(t)
			dir := r.Path(updatedSerial)
			roottest.Spec{"etc/shadow": "root:secret:1\n"}.Make(t, dir)
			if err := h.make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := update(r)
			if h.says == "" && err != nil || h.says != "" && (err == nil || !strings.Contains(err.Error(), h.says)) {
				t.Errorf("update = %v; want it to say %q", err, h.says)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("update = %v; want what the file says left out", err)
			}
			if err := useRoot(t.Context(), r, templates, of); err != nil {
				t.Logf("all else: %v", err)
			}
			kept, err := r.Archive(updatedSerial, Origin{Template: of.Name, Version: 1, Arch: pi.ARM64, Why: "test"})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Restore(kept, identityOf(updatedSerial, "pi-again")); err != nil {
				t.Logf("to restore it: %v", err)
			}
			if _, err := r.Swap(kept, Origin{}); err != nil {
				t.Error(err)
			}
			if err := r.Remove(updatedSerial); err != nil {
				t.Error(err)
			}
			if left, err := filepath.Glob(filepath.Join(r.Dir, "[^.]*")); err != nil || len(left) > 0 {
				t.Errorf("after its removal there are %q, %v", left, err)
			}
			if left, err := os.ReadDir(filepath.Join(r.Dir, stage.StagingDir)); err != nil || len(left) > 0 {
				t.Errorf("after its removal the stage has %v, %v", left, err)
			}
			if diff := cmp.Diff(want, contents(t, outside)); diff != "" {
				t.Errorf("outside of the root (-want +got):\n%s", diff)
			}
		})
	}
}

// A board exchanges directories and files of its root for links that lead out,
// all the time: nothing outside is read or changed.
func TestRootThatChanges(t *testing.T) {
	outside := canaries(t)
	roottest.Spec{"pibootd/worker.json": "{}", "worker.json": "{}", "pibootd-worker": "kept"}.Make(t, outside)
	want := contents(t, outside)
	r, templates, of := hostileRoot(t)
	dir := r.Path(updatedSerial)
	out := map[string]string{"etc": outside, "etc/pibootd": outside, "usr/lib/pibootd": strings.Repeat("../", 40) + outside[1:], images.WorkerConfigFile: outside + "/worker.json", "boot": outside}
	type exchange struct {
		in   *os.File // not by name: the test itself would follow its links
		name string
	}
	var exchanges []exchange
	for name, target := range out {
		in, err := os.Open(filepath.Join(dir, filepath.Dir(name)))
		if err == nil {
			err = unix.Symlinkat(target, int(in.Fd()), "link-"+filepath.Base(name))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		exchanges = append(exchanges, exchange{in, filepath.Base(name)})
	}
	done := make(chan struct{})
	var exchanging sync.WaitGroup
	exchanging.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				x := exchanges[i%len(exchanges)]
				if err := unix.Renameat2(int(x.in.Fd()), x.name, int(x.in.Fd()), "link-"+x.name, unix.RENAME_EXCHANGE); err != nil {
					t.Errorf("exchanging %s: %v", x.name, err)
					return
				}
			}
		}
	})
	for range 300 {
		_, err := update(r)
		err = errors.Join(err, useRoot(t.Context(), r, templates, of))
		if err != nil && strings.Contains(err.Error(), "kept") {
			t.Errorf("it has read what is outside: %v", err)
		}
	}
	close(done)
	exchanging.Wait()
	if diff := cmp.Diff(want, contents(t, outside)); diff != "" {
		t.Errorf("outside of the root (-want +got):\n%s", diff)
	}
}

// What a board adds that is too deep or too large to read is listed all the same,
// and the rest of it as ever.
func TestDriftIsBounded(t *testing.T) {
	r, templates, of := hostileRoot(t)
	dir := r.Path(updatedSerial)
	err := errors.Join(
		roottest.DeepDir(filepath.Join(dir, "deep"), 3000), os.WriteFile(filepath.Join(dir, "srv"), []byte("x"), 0o600),
		os.WriteFile(filepath.Join(dir, "holes"), nil, 0o600), os.Truncate(filepath.Join(dir, "holes"), 1<<43), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	changes, err := templates.Drift(t.Context(), r, updatedSerial, of, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	deep := 0
	for _, c := range changes {
		if strings.HasPrefix(c.File, "deep") {
			deep++
			continue
		}
		names = append(names, fmt.Sprintf("%s %s", c.File, c.What))
	}
	if diff := cmp.Diff([]string{"fifo added", "holes added", "srv added"}, names); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	if deep != filetree.MaxDepth+1 {
		t.Errorf("drift lists %d of the directories in one another; want %d", deep, filetree.MaxDepth+1)
	}
}
