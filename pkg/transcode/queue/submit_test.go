package queue

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"

	"golang.org/x/sys/unix"
)

func TestSubmitRefuses(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	if err := os.MkdirAll(b.media(".work/1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"out.mp4": "../../etc/passwd", "absolute.mp4": "/etc/passwd", "loop.mp4": "loop.mp4",
	} {
		if err := os.Symlink(target, b.media(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(b.media("fifo.mp4"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		r    transcode.Request
		want string
	}{
		{transcode.Request{}, `source "" is not a path in the media share`},
		{transcode.Request{Source: "."}, "is not a path"},
		{transcode.Request{Source: "/etc/passwd"}, "is not a path"},
		{transcode.Request{Source: "../x"}, "is not a path"},
		{transcode.Request{Source: "films//test clip.mp4"}, "is not a path"},
		{transcode.Request{Source: "films/\xff.mp4"}, `"films/\xff.mp4": its name is not UTF-8`},
		{transcode.Request{Source: strings.Repeat("x/", maxSource) + "x"}, "is not a path"},
		{transcode.Request{Source: "nothing.mp4"}, "no such file"},
		{transcode.Request{Source: "films"}, `source "films" is a directory; want a regular file`},
		{transcode.Request{Source: "fifo.mp4"}, "is a FIFO"},
		{transcode.Request{Source: ".work/1"}, "unpublished work"},
		{transcode.Request{Source: "out.mp4"}, "path escapes"},
		{transcode.Request{Source: "absolute.mp4"}, "path escapes"},
		{transcode.Request{Source: "loop.mp4"}, "too many levels of symbolic links"},
		{transcode.Request{Source: sourceName, Name: "a/b"}, "cannot name a directory"},
		{transcode.Request{Source: sourceName, Name: ".."}, "cannot name a directory"},
		{transcode.Request{Source: sourceName, Name: "a\nb"}, "cannot name a directory"},
		{transcode.Request{Source: sourceName, Name: strings.Repeat("x", 201)}, "cannot name a directory"},
		{transcode.Request{Source: sourceName, SegmentSeconds: 0.4}, "segments of 0.4 s; want 0.5 to 30"},
		{transcode.Request{Source: sourceName, SegmentSeconds: math.NaN()}, "segments of NaN s"},
		{transcode.Request{Source: sourceName, MuxID: -1}, "muxer id -1"},
		{transcode.Request{Source: sourceName, Labels: []string{"fast "}}, `label "fast "; want 1 to 63 of`},
		{transcode.Request{Source: sourceName, Labels: make([]string, 17)}, "17 labels; want at most 16"},
	} {
		if _, _, err := b.Submit(t.Context(), c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Submit(%.100q, %+v) = %v; want %s", c.r.Source, c.r, err, c.want)
		}
	}
	if jobs, err := b.Jobs(t.Context()); err != nil || len(jobs) != 0 {
		t.Errorf("jobs: %v, %v; want none", jobs, err)
	}
}

func TestSubmitTwice(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	first, existing, err := b.Submit(t.Context(), transcode.Request{Source: sourceName})
	if err != nil || existing || first.Request.Name != "test clip" {
		t.Fatalf("Submit = %+v, %v, %v; want a new job named test clip", first, existing, err)
	}
	again, existing, err := b.Submit(t.Context(), transcode.Request{Source: sourceName, Name: "test clip"})
	if err != nil || !existing || again.ID != first.ID {
		t.Errorf("Submit again = %+v, %v, %v; want job %d", again, existing, err, first.ID)
	}
	explicit := transcode.Request{Source: sourceName, SegmentSeconds: 4, Output: transcode.Output{Format: transcode.FormatHLS, Codec: transcode.CodecH264}}
	again, existing, err = b.Submit(t.Context(), explicit)
	if err != nil || !existing || again.ID != first.ID {
		t.Errorf("Submit with the defaults said = %+v, %v, %v; want job %d", again, existing, err, first.ID)
	}
	other, existing, err := b.Submit(t.Context(), fixtureRequest)
	if err != nil || existing || other.ID == first.ID {
		t.Errorf("Submit of another request = %+v, %v, %v; want a new job", other, existing, err)
	}
	jobs, err := b.Jobs(t.Context())
	if err != nil || len(jobs) != 2 || jobs[0].ID != other.ID {
		t.Errorf("Jobs = %+v, %v; want both, the newest first", jobs, err)
	}
}

func TestNoSuchJob(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	if _, err := b.Job(t.Context(), 7); !errors.Is(err, ErrNoJob) {
		t.Errorf("Job = %v; want %v", err, ErrNoJob)
	}
	if err := b.Cancel(t.Context(), 7); !errors.Is(err, ErrNoJob) {
		t.Errorf("Cancel = %v; want %v", err, ErrNoJob)
	}
	yielded := 0
	for _, err := range b.Watch(t.Context(), 7) {
		if yielded++; !errors.Is(err, ErrNoJob) {
			t.Errorf("Watch = %v; want %v", err, ErrNoJob)
		}
	}
	if yielded != 1 {
		t.Errorf("Watch yielded %d times; want once", yielded)
	}
}

func TestJobAsJSON(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	body, err := json.Marshal(b.submit(fixtureRequest))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"id", "state", "request", "created", "frames", "total_frames", "fps", "units"} {
		if _, ok := got[key]; !ok {
			t.Errorf("%s has no %q", body, key)
		}
	}
	for _, key := range []string{"started", "ended", "eta", "output", "reason", "stderr"} {
		if _, ok := got[key]; ok {
			t.Errorf("%s has %q before there is any", body, key)
		}
	}
}

// A directory is read once for all the videos that are submitted from it, until it changes.
func TestSubtitlesOfABatch(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	dir, past := filepath.Dir(b.media(sourceName)), time.Now().Add(-time.Hour)
	put := func(name string, changed time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644), os.Chtimes(dir, changed, changed)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(names ...string) {
		t.Helper()
		for i, name := range names {
			names[i] = path.Join(path.Dir(sourceName), name)
		}
		if got, err := b.sidecarsOf(path.Join(path.Dir(sourceName), "film.mkv")); err != nil || !slices.Equal(got, names) {
			t.Errorf("beside the film: %q, %v; want %q", got, err, names)
		}
	}
	put("film.de.srt", past)
	put("film.de.2.mkv", past)
	put("film.de.2.srt", past)
	put("filmed.srt", past)
	want("film.de.srt")
	put("film.en.srt", past)
	want("film.de.srt") // its time is as it was, so it was not read again
	put("film.fr.srt", past.Add(time.Second))
	want("film.de.srt", "film.en.srt", "film.fr.srt")
	put("film.it.srt", time.Now())
	want("film.de.srt", "film.en.srt", "film.fr.srt", "film.it.srt")
	if kept := b.beside.Load(); !kept.changed.Equal(past.Add(time.Second)) {
		t.Errorf("names as of %v are kept; want none of a directory that has just changed", kept.changed)
	}
}

// A file with subtitles beside the video is part of what a job is.
func TestSubtitlesBesideTheVideo(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	plain := b.submit(transcode.Request{Source: sourceName})
	beside := strings.TrimSuffix(sourceName, path.Ext(sourceName)) + ".de.srt"
	file := b.media(beside)
	write := func(text string) transcode.Request {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		job := b.submit(transcode.Request{Source: sourceName, Sidecars: []string{"../../etc/passwd"}})
		if job.ID == plain.ID || !slices.Equal(job.Request.Sidecars, []string{beside}) {
			t.Errorf("job %d with %q; want a new one with %s", job.ID, job.Request.Sidecars, beside)
		}
		plain = job
		return job.Request
	}
	write("1\n00:00:00,000 --> 00:00:01,000\none\n")
	write("1\n00:00:00,000 --> 00:00:01,000\nother\n")
	if again := b.submit(transcode.Request{Source: sourceName}); again.ID != plain.ID {
		t.Errorf("job %d for the same; want %d", again.ID, plain.ID)
	}
}

// Nothing is published in the watch folder, which would hand it in again.
func TestNothingIsPublishedInTheWatchFolder(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), func(o *Options) { o.Inbox = "in/box" })
	for dir, refused := range map[string]bool{"in/box": true, "in/box/a": true, "in": false, "in/boxes": false, "films": false} {
		request := transcode.Request{Source: sourceName, Name: "a-" + strings.ReplaceAll(dir, "/", "-")}
		request.Dir = dir
		_, _, err := b.Submit(t.Context(), request)
		if refused != (err != nil) || refused && !strings.Contains(err.Error(), "watch folder in/box") {
			t.Errorf("publishing in %s: %v; want refused: %v", dir, err, refused)
		}
	}
}
