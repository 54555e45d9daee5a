package muxer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// give makes a tree the muxers'.
func (b *bench) give(dir string) {
	b.t.Helper()
	if os.Geteuid() != 0 {
		b.t.Fatal("this test needs root: it makes files of two users")
	}
	err := filepath.WalkDir(filepath.Join(b.media, dir), func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, transcode.MuxerUID, transcode.MuxerUID))
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// The stream of a job that is done is no muxer's any more.
func TestStreamIsTakenFromItsMuxer(t *testing.T) {
	b := start(t)
	var revoked []string
	b.Revoke = func(f *os.File) error {
		info, err := f.Stat()
		if owner := ownerOf(info); owner.uid == transcode.MuxerUID {
			err = fmt.Errorf("%s is revoked while it is its muxer's", f.Name())
		}
		revoked = append(revoked, filepath.Base(f.Name()))
		return err
	}
	id := b.submit("videos/a.mp4")
	b.want("/muxer/1", nil, 200, "job")
	b.stream("videos/a.mp4.hls")
	if err := os.Chmod(filepath.Join(b.media, "videos/a.mp4.hls/manifest_100.m3u8"), 0o6777); err != nil {
		t.Fatal(err)
	}
	b.give("videos/a.mp4.hls")
	b.want(fmt.Sprintf("/muxer/complete/1/%d", id), nil, 200, "ok")
	names, err := filepath.Glob(filepath.Join(b.media, "videos/a.mp4.hls/*"))
	if err != nil || len(names) != len(revoked) || len(names) == 0 {
		t.Errorf("%d of %d files were revoked, %v", len(revoked), len(names), err)
	}
	for _, name := range append(names, filepath.Join(b.media, "videos/a.mp4.hls")) {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o644)
		if info.IsDir() {
			want = fs.ModeDir | streamDirMode
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid == transcode.MuxerUID || st.Gid == transcode.MuxerUID || info.Mode() != want {
			t.Errorf("%s is %v of %d:%d; want %v and none of it a muxer's", name, info.Mode(), st.Uid, st.Gid, want)
		}
	}
}

// What no stream is made of is refused in words, and nothing beside the stream
// is changed.
func TestHostileStreams(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, b *bench, dir string) error // dir is whole when it is called
		says string
	}{
		"a link to another stream": {func(t *testing.T, b *bench, dir string) error {
			return errors.Join(os.Rename(dir, dir+".else"), os.Symlink(filepath.Base(dir)+".else", dir))
		}, "is a symbolic link, or is behind one"},
		"a link to a segment": {func(t *testing.T, b *bench, dir string) error {
			return errors.Join(os.Rename(dir+"/media_100_00000.ts", dir+".ts"), os.Symlink("../a.mp4.hls.ts", dir+"/media_100_00000.ts"))
		}, `"media_100_00000.ts" is a symbolic link`},
		"an original by another name": {func(t *testing.T, b *bench, dir string) error {
			return os.Link(strings.TrimSuffix(dir, ".hls"), dir+"/more.ts")
		}, `"more.ts" has 2 names`},
		"a named pipe": {func(t *testing.T, b *bench, dir string) error { return unix.Mkfifo(dir+"/x.m3u8", 0o644) }, "a device, a named pipe or a socket"},
		"a device": {func(t *testing.T, b *bench, dir string) error {
			return unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, 0x103)
		}, "a device, a named pipe or a socket"},
		"a directory": {func(t *testing.T, b *bench, dir string) error { return os.Mkdir(dir+"/more", 0o755) }, `"more" is a directory`},
		"a file": {func(t *testing.T, b *bench, dir string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644))
		}, "is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			id := b.submit("videos/a.mp4")
			b.want("/muxer/1", nil, 200, "job")
			b.stream("videos/a.mp4.hls")
			if err := test.make(t, b, filepath.Join(b.media, "videos/a.mp4.hls")); err != nil {
				t.Fatal(err)
			}
			before := ownersOf(t, filepath.Join(b.media, "videos"), "a.mp4.hls")
			b.give("videos/a.mp4.hls") // the link itself, where it is one
			answer := b.want(fmt.Sprintf("/muxer/complete/1/%d", id), nil, 422, "error")
			job, err := b.Queue.Job(t.Context(), id)
			if err != nil || job.State.Ended() || !strings.Contains(job.Units[0].FailedWhy, test.says) || !strings.Contains(answer.Error, test.says) {
				t.Errorf("answer %q, job %+v, %v; want it to continue, and %q", answer.Error, job, err, test.says)
			}
			if after := ownersOf(t, filepath.Join(b.media, "videos"), "a.mp4.hls"); name != "an original by another name" && after != before {
				t.Errorf("beside the stream there was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// ownersOf lists a tree, except one name in it, with what a muxer must not change.
func ownersOf(t *testing.T, dir, but string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		if name == filepath.Join(dir, but) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&list, name, info.Mode(), info.Size(), ownerOf(info), info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// A muxer that never stops making files gets an error that says so.
func TestStreamThatIsStillWritten(t *testing.T) {
	b := start(t)
	id := b.submit("videos/a.mp4")
	b.want("/muxer/1", nil, 200, "job")
	b.stream("videos/a.mp4.hls")
	b.give("videos/a.mp4.hls")
	n := 0
	b.Revoke = func(*os.File) error {
		n++
		name := filepath.Join(b.media, queue.LegacyDir("videos/a.mp4"), fmt.Sprintf("%d.ts", n))
		return errors.Join(os.WriteFile(name, []byte("x"), 0o644), os.Lchown(name, transcode.MuxerUID, transcode.MuxerUID))
	}
	answer := b.want(fmt.Sprintf("/muxer/complete/1/%d", id), nil, 422, "error")
	if !strings.Contains(answer.Error, "somebody still writes into it") {
		t.Errorf("answer %+v; want it to say that somebody still writes", answer)
	}
}
