package trash

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pibootd/pkg/pi"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func newTrash(t *testing.T) *Trash {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hls/film/master.m3u8"), "#EXTM3U")
	return &Trash{MediaDir: dir, Keep: time.Hour, Log: slog.New(slog.DiscardHandler)}
}

// wantContent makes sure that a file of the share has this content; "": that it is not there.
func (t *Trash) wantContent(test *testing.T, name, want string) {
	test.Helper()
	got, err := os.ReadFile(filepath.Join(t.MediaDir, name))
	if string(got) != want || (err == nil) != (want != "") {
		test.Errorf("%s has %q, %v; want %q", name, got, err, want)
	}
}

// What was deleted can be put back, but never replaces what came meanwhile.
func TestRestore(t *testing.T) {
	trash := newTrash(t)
	item, err := trash.Put("hls/film", "ada", 7)
	if err != nil {
		t.Fatal(err)
	}
	trash.wantContent(t, "hls/film/master.m3u8", "")
	all, err := trash.List()
	if err != nil || len(all) != 1 || all[0] != item || item.Path != "hls/film" || item.By != "ada" || !item.Expires.Equal(item.Deleted.Add(time.Hour)) {
		t.Errorf("List = %+v, %v; want %+v", all, err, item)
	}
	write(t, filepath.Join(trash.MediaDir, "hls/film/master.m3u8"), "another")
	var refused pi.RequestError
	if _, err := trash.Restore(item.ID); !errors.As(err, &refused) || refused.Reason != pi.Conflict {
		t.Errorf("Restore over another one = %v; want a conflict", err)
	}
	trash.wantContent(t, "hls/film/master.m3u8", "another")
	if err := os.RemoveAll(filepath.Join(trash.MediaDir, "hls")); err != nil {
		t.Fatal(err)
	}
	if _, err := trash.Restore(item.ID); err != nil {
		t.Error(err)
	}
	trash.wantContent(t, "hls/film/master.m3u8", "#EXTM3U")
	if _, err := trash.Restore(item.ID); !errors.As(err, &refused) || refused.Reason != pi.Missing {
		t.Errorf("Restore again = %v; want that it is missing", err)
	}
}

// What has expired is deleted, and nothing else in the directory is.
func TestSweep(t *testing.T) {
	trash := newTrash(t)
	write(t, filepath.Join(trash.MediaDir, "trash/notes.txt"), "of somebody")
	write(t, filepath.Join(trash.MediaDir, "trash/old/film.mkv"), "of an earlier time")
	item, err := trash.Put("hls/film", "", 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		keep, after time.Duration
		stays       int
	}{{time.Hour, time.Minute, 1}, {0, 1e6 * time.Hour, 1}, {time.Hour, 2 * time.Hour, 0}} {
		trash.Keep = tt.keep
		if err := trash.sweep(item.Deleted.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if all, err := trash.List(); err != nil || len(all) != tt.stays {
			t.Errorf("kept for %v, after %v: List = %+v, %v; want %d", tt.keep, tt.after, all, err, tt.stays)
		}
	}
	trash.wantContent(t, "trash/notes.txt", "of somebody")
	trash.wantContent(t, "trash/old/film.mkv", "of an earlier time")
}

// What a kill leaves between the description and the move is no item, and the film is where it was.
func TestKilledBeforeTheMove(t *testing.T) {
	trash := newTrash(t)
	item := Item{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Path: "hls/film"}
	if err := os.MkdirAll(filepath.Join(trash.MediaDir, place(item.ID), contentDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := trash.describe(item); err != nil {
		t.Fatal(err)
	}
	if all, err := trash.List(); err != nil || len(all) > 0 {
		t.Errorf("List = %+v, %v; want nothing", all, err)
	}
	trash.wantContent(t, "hls/film/master.m3u8", "#EXTM3U")
}
