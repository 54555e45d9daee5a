//go:build e2e

package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/daemon"
	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// soakSource is short, so that its video is one unit, however many workers there are.
const soakSource = "soak.mp4"

// A recording has the results of the units of one job, and the files of its stream. Boards hand
// them in again for the same units of other jobs, as if they had run ffmpeg.
type recording struct {
	results map[string]recordedUnit
	content map[string][]byte // by SHA-256
	stream  map[string]int64  // sizes of the published files by name
}

type recordedUnit struct {
	spec   string
	result transcode.Result
}

// recordUnits has a real worker do a job.
func (s *soak) recordUnits(t *testing.T) {
	t.Helper()
	makeVideo(t, filepath.Join(s.state, "media", soakSource), "6")
	worker := s.workAs(t, s.net, s.newBoard(s.boards).pi.Serial)
	submitted, err := s.client.Submit(t.Context(), transcode.Request{Source: soakSource, Name: "film", SegmentSeconds: 2}, false)
	if err != nil {
		t.Fatal(err)
	}
	job := s.waitFor(t, submitted.Job)
	worker.signal(t, syscall.SIGKILL)
	<-worker.ended
	s.recorded = recording{results: map[string]recordedUnit{}, content: map[string][]byte{}}
	if s.recorded.stream, err = s.published(filepath.Dir(job.Output)); err != nil {
		t.Fatal(err)
	}
	for name := range s.recorded.stream {
		content, err := os.ReadFile(filepath.Join(s.state, "media", filepath.Dir(job.Output), name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		s.recorded.content[hex.EncodeToString(sum[:])] = content
	}
	s.readResults(t, job.ID)
}

func (s *soak) readResults(t *testing.T, job int64) {
	t.Helper()
	db, err := store.Read(t.Context(), filepath.Join(s.state, daemon.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(t.Context(), `SELECT unit, spec, result FROM units WHERE job = ?`, job)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var unit, text string
		var u recordedUnit
		if err := rows.Scan(&unit, &u.spec, &text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &u.result); err != nil {
			t.Fatal(err)
		}
		s.recorded.results[unit] = u
	}
	if err := rows.Err(); err != nil || len(s.recorded.results) < 3 {
		t.Fatalf("%d units, %v; want a probe, video and audio", len(s.recorded.results), err)
	}
}

// published returns the sizes of a stream's files.
func (s *soak) published(output string) (map[string]int64, error) {
	sizes, dir := map[string]int64{}, filepath.Join(s.state, "media", output)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		name, relErr := filepath.Rel(dir, path)
		if err == nil && relErr == nil {
			sizes[name] = info.Size()
		}
		return err
	})
	return sizes, err
}

// A soakJob is a job that the daemon has said it has.
type soakJob struct {
	name  string
	ended bool
}

func (s *soak) unfinished() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range s.jobs {
		if !job.ended {
			n++
		}
	}
	return n
}

// follow looks at the jobs that have ended, and hands in again those for which there was no room.
func (s *soak) follow(ctx context.Context) {
	for pause.For(ctx, time.Second) {
		jobs, err := s.client.Jobs(ctx)
		if err != nil {
			continue // it is being killed
		}
		for _, job := range jobs {
			if !job.Ended.IsZero() {
				s.jobEnded(ctx, job)
			}
		}
	}
}

func (s *soak) jobEnded(ctx context.Context, job queue.Job) {
	s.mu.Lock()
	ours, known := s.jobs[job.ID]
	seen := known && ours.ended
	s.mu.Unlock()
	if !known || seen {
		return
	}
	switch {
	case job.State == queue.Done:
		s.lookAt(job)
	case explained.MatchString(job.Reason + strings.Join(job.Stderr, " ")):
		again, err := s.client.RetryJob(ctx, job.ID)
		if err != nil {
			return // it is tried again
		}
		s.count("jobs handed in again after a full disk")
		s.mu.Lock()
		s.jobs[again.Job.ID] = &soakJob{name: again.Job.Output}
		s.mu.Unlock()
	default:
		s.note("job %d is %s: %s %q", job.ID, job.State, job.Reason, job.Stderr)
	}
	s.mu.Lock()
	ours.ended = true
	s.mu.Unlock()
}

// lookAt compares what a job has published with the first stream, and deletes it.
func (s *soak) lookAt(job queue.Job) {
	s.count("jobs done")
	sizes, err := s.published(filepath.Dir(job.Output))
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(sizes)), slices.Sorted(maps.Keys(s.recorded.stream))) {
		s.note("job %d has published %v, %v; want the files of the first, %v", job.ID, sizes, err, s.recorded.stream)
	}
	if err := os.RemoveAll(filepath.Join(s.state, "media", filepath.Dir(job.Output))); err != nil {
		s.note("job %d: %v", job.ID, err)
	}
}

// waitForJobs returns when all jobs have ended.
func (s *soak) waitForJobs(ctx context.Context) {
	late, cancel := context.WithTimeout(ctx, labTimeout)
	defer cancel()
	for s.unfinished() > 0 {
		if !pause.For(late, time.Second) {
			s.note("%d jobs do not end", s.unfinished())
			return
		}
	}
}

// noteAccepted counts the attempts of a unit that were accepted.
func (s *soak) noteAccepted(unit string, attempt int) {
	s.mu.Lock()
	before, twice := s.accepted[unit]
	s.accepted[unit] = attempt
	s.counts["units done by boards"]++
	s.mu.Unlock()
	if twice && before != attempt {
		s.note("unit %s: attempts %d and %d were accepted", unit, before, attempt)
	}
}

// check looks at the database and the logs after the end.
func (s *soak) check(t *testing.T) {
	t.Helper()
	if err := s.daemon.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("the daemon ends with %v", err)
	}
	db, err := store.Read(t.Context(), filepath.Join(s.state, daemon.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var twice sql.NullString
	err = db.QueryRow(t.Context(), `SELECT group_concat(job || '/' || unit || ': ' || n) FROM
		(SELECT u.job, u.unit, (SELECT count(*) FROM attempts a WHERE a.job = u.job AND a.unit = u.unit AND a.outcome = 'done') AS n
			FROM units u JOIN jobs j ON j.id = u.job AND j.state = 'done') WHERE n <> 1`).Scan(&twice)
	if err != nil || twice.Valid {
		s.note("units that were not done once: %s, %v", twice.String, err)
	}
	for _, k := range s.keepers {
		for line := range strings.Lines(k.text()) {
			if (strings.Contains(line, "level=ERROR") || strings.Contains(line, "STALE") || strings.Contains(line, "panic: ")) && !explained.MatchString(line) {
				s.note("log: %s", strings.TrimSpace(line))
			}
		}
	}
}
