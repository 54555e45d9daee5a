package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode"
)

// A pibootd before this one let boards write to the directory of accepted work.
// What is there of running jobs is taken over where it still is what was
// accepted, and done again where not.
func TestFormerWorkIsAdopted(t *testing.T) {
	t.Parallel()
	work := transcode.WorkDir
	for name, c := range map[string]struct {
		change func(dir string) error // of job 1
		redone []string
	}{
		"as it was":      {func(string) error { return nil }, nil},
		"other bytes":    {func(d string) error { return os.WriteFile(d+"/audio.1/00001.ts", []byte("swapped"), 0o666) }, []string{"audio"}},
		"nothing there":  {func(d string) error { return os.RemoveAll(d + "/v-64p-0000.1") }, []string{"v-64p-0000"}},
		"half published": {func(d string) error { return publishHalf(d) }, nil},
		"links": {func(d string) error {
			return errors.Join(os.RemoveAll(d+"/audio.1"), os.Symlink("../../hls/a", d+"/audio.1"), os.Symlink("../../hls/a", d+"/"+publishName), os.Symlink("../hls", d+"/../64"))
		}, []string{"audio"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, newDirs(t), nil)
			others := newCanary(t, b.dir)
			job := b.encoded()
			// As boards had it: writable for another than the daemon.
			dir := b.media(transcode.JobDir(job.ID))
			if err := errors.Join(c.change(dir), os.Chmod(b.media(work), 0o777)); err != nil {
				t.Fatal(err)
			}
			b.stop()
			b = open(t, b.dir, nil)
			got, err := b.Job(t.Context(), job.ID)
			if err != nil {
				t.Fatal(err)
			}
			var redone []string
			for _, u := range got.Units {
				if u.State == pending {
					redone = append(redone, u.ID)
				}
			}
			if fmt.Sprint(redone) != fmt.Sprint(c.redone) {
				t.Errorf("units to be done again: %q; want %q", redone, c.redone)
			}
			for _, unit := range redone {
				b.encode(transcode.Work{Job: job.ID, Unit: unit})
			}
			others.check(t, b.dir)
			if err := b.publishReady(t.Context()); err != nil {
				t.Error(err)
			}
			if got, err = b.Job(t.Context(), job.ID); err != nil || got.State != Done {
				t.Errorf("job = %+v, %v; want it done", got, err)
			}
			b.checkFiles(path.Dir(got.Output))
			if _, err := os.Lstat(b.media(formerDir)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v; want it gone", formerDir, err)
			}
		})
	}
}

// publishHalf moves some of a job's segments to where they are published.
func publishHalf(dir string) error {
	to := filepath.Join(dir, publishName, "audio")
	return errors.Join(os.MkdirAll(to, 0o755), os.Rename(dir+"/audio.1/00000.ts", to+"/00000.ts"))
}

// A link in the place of the directory of accepted work, which a board could
// have made, is not followed.
func TestFormerWorkIsALink(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	others := newCanary(t, b.dir)
	if err := errors.Join(os.RemoveAll(b.media(transcode.WorkDir)), os.Symlink("hls", b.media(transcode.WorkDir))); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b = open(t, b.dir, nil)
	if info, err := os.Lstat(b.media(transcode.WorkDir)); err != nil || !info.IsDir() {
		t.Errorf("%s: %v, %v; want a directory", transcode.WorkDir, info, err)
	}
	others.check(t, b.dir)
}
