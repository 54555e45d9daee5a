package queue

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

var (
	muxerOne = LegacyMuxer{MuxID: 1, Host: "10.0.0.5"}
	muxerTwo = LegacyMuxer{MuxID: 2, Host: "10.0.0.6"}
)

// startMuxers starts a queue whose muxers' files tests can make.
func startMuxers(t *testing.T) *bench {
	return start(t, newDirs(t), func(o *Options) { o.LegacyUID = uint32(os.Geteuid()) }) // root: the usual one
}

func anyRequest(transcode.Request) bool { return true }

// takes has a muxer claim a job, which has to be this one; 0 is none.
func (b *bench) takes(f LegacyMuxer, want int64) {
	b.t.Helper()
	job, err := b.ClaimLegacy(b.t.Context(), f, anyRequest)
	var got int64
	if job != nil {
		got = job.ID
	}
	if err != nil || got != want {
		b.t.Fatalf("%s was given job %d, %v; want %d", f.Name(), got, err, want)
	}
}

// writes makes what a muxer has written when it is at it.
func (b *bench) writes() string {
	b.t.Helper()
	dir := b.makes()
	if os.Geteuid() == 0 { // else the queue takes this user for the muxers'
		if err := os.Chown(dir, transcode.MuxerUID, transcode.MuxerUID); err != nil {
			b.t.Fatal(err)
		}
	}
	return dir
}

// makes makes what looks like a stream and is somebody's of this machine.
func (b *bench) makes() string {
	b.t.Helper()
	dir := b.media(LegacyDir(sourceName))
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.m3u8"), []byte("#EXTM3U\n"), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

func TestLegacyMuxerDoesAJob(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	b.takes(muxerOne, job.ID)
	b.takes(muxerTwo, 0)
	b.takes(muxerOne, job.ID) // our answer was lost
	m := b.join("pi1", transcode.Hello{})
	if reply := m.claim(); reply.Refused == "" {
		t.Error("a worker was granted what a legacy muxer has")
	}
	if err := b.BeginLegacy(muxerTwo, job.ID); !errors.Is(err, ErrNotClaimed) {
		t.Errorf("begun by another: %v; want %v", err, ErrNotClaimed)
	}
	if err := b.BeginLegacy(muxerOne, job.ID); err != nil {
		t.Error(err)
	}
	dir := b.writes()
	if err := b.CompleteLegacy(t.Context(), muxerTwo, job.ID, "manifest.m3u8"); !errors.Is(err, ErrNotClaimed) {
		t.Errorf("completed by another: %v; want %v", err, ErrNotClaimed)
	}
	if err := b.CompleteLegacy(t.Context(), muxerOne, job.ID, "manifest.m3u8"); err != nil {
		t.Fatal(err)
	}
	got := b.waitEnd(job.ID)
	if want := sourceName + ".hls/manifest.m3u8"; got.State != Done || got.Output != want {
		t.Errorf("job = %+v; want done at %s", got, want)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if done, err := b.LegacyDone(t.Context(), muxerOne, job.ID); !done || err != nil {
		t.Errorf("LegacyDone = %v, %v; want true", done, err)
	}
	if done, err := b.LegacyDone(t.Context(), muxerTwo, job.ID); done || err != nil {
		t.Errorf("LegacyDone of another = %v, %v; want false", done, err)
	}
	if err := b.CompleteLegacy(t.Context(), muxerOne, 99, "x"); !errors.Is(err, ErrNotClaimed) {
		t.Errorf("completing what is not there: %v; want %v", err, ErrNotClaimed)
	}
}

// What a muxer failed at, or was cut off from, is done by somebody else, and
// nothing of it is left.
func TestLegacyMuxerFails(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(b *bench, job int64){
		"says so": func(b *bench, job int64) {
			if err := b.FailLegacy(b.t.Context(), muxerOne, job, "FFmpegErr"); err != nil {
				b.t.Error(err)
			}
		},
		"restarts": func(b *bench, job int64) {
			if got, err := b.ClaimLegacy(b.t.Context(), muxerOne, func(transcode.Request) bool { return false }); got != nil || err != nil {
				b.t.Errorf("a muxer that takes nothing was given %+v, %v", got, err)
			}
		},
		"is silent": func(b *bench, job int64) {
			b.expireClaims(b.t.Context(), time.Now().Add(defaultLegacyTTL+time.Hour))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startMuxers(t)
			job := b.submit(fixtureRequest)
			b.takes(muxerOne, job.ID)
			if err := b.BeginLegacy(muxerOne, job.ID); err != nil {
				t.Fatal(err)
			}
			dir := b.writes()
			end(b, job.ID)
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the unfinished stream: %v; want it gone", err)
			}
			if err := b.CompleteLegacy(t.Context(), muxerOne, job.ID, "manifest.m3u8"); !errors.Is(err, ErrNotClaimed) {
				t.Errorf("completed afterwards: %v; want %v", err, ErrNotClaimed)
			}
			m := b.join("pi1", transcode.Hello{})
			if work := m.do(); work.Job != job.ID {
				t.Errorf("pi1 was given %v; want job %d", work, job.ID)
			}
		})
	}
}

// A muxer that calls itself by one number after the other is one machine: it cannot
// fail a job as three.
func TestOneLegacyMachineIsOne(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	fails := func(id int, host string) State {
		f := LegacyMuxer{MuxID: id, Host: host}
		b.takes(f, job.ID)
		if err := b.FailLegacy(t.Context(), f, job.ID, "FFmpegErr"); err != nil {
			t.Fatal(err)
		}
		now, err := b.Job(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		return now.State
	}
	for id := 1; id <= 3; id++ {
		if state := fails(id, "10.0.0.5"); state.Ended() {
			t.Fatalf("the job is %s after one machine failed as %d muxers; want it tried elsewhere", state, id)
		}
	}
	if state := fails(1, "10.0.0.6"); state.Ended() {
		t.Errorf("the job is %s after two machines failed", state)
	}
	if state := fails(1, "10.0.0.7"); state != Failed {
		t.Errorf("the job is %s after three machines failed; want %s", state, Failed)
	}
}

// While a job waits for its next attempt its units say what became of the last
// one, and no longer when they are done.
func TestFailureIsShown(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	probe := func() UnitState {
		t.Helper()
		now, err := b.Job(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		return now.Units[0]
	}
	for _, reason := range []string{"FFmpegErr", "CantGetBitRate"} {
		b.takes(muxerOne, job.ID)
		if err := b.FailLegacy(t.Context(), muxerOne, job.ID, reason); err != nil {
			t.Fatal(err)
		}
		if u := probe(); u.FailedOn != muxerOne.Name() || u.FailedWhy != reason {
			t.Errorf("after %s: failed on %q because %q; want %s", reason, u.FailedOn, u.FailedWhy, muxerOne.Name())
		}
	}
	b.join("pi1", transcode.Hello{}).do()
	if u := probe(); u.FailedOn != "" || u.FailedWhy != "" {
		t.Errorf("a unit that is done: failed on %q because %q; want nothing", u.FailedOn, u.FailedWhy)
	}
}

// A directory that a muxer found is not what it made.
func TestLegacyMuxerLeavesWhatItFound(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	b.takes(muxerOne, job.ID)
	dir := b.makes()
	if err := b.FailLegacy(t.Context(), muxerOne, job.ID, dirExists); err != nil {
		t.Fatal(err)
	}
	b.takes(muxerOne, 0)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the directory that was there: %v", err)
	}
}

// A muxer's claim outlives the daemon, and a worker's time does not apply to it.
func TestLegacyClaimSurvivesRestart(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	b.takes(muxerOne, job.ID)
	if err := b.BeginLegacy(muxerOne, job.ID); err != nil {
		t.Fatal(err)
	}
	b = b.restart(nil)
	if err := b.adoptClaims(t.Context(), time.Now()); err != nil { // Run does, sooner or later
		t.Fatal(err)
	}
	b.expireClaims(t.Context(), time.Now().Add(2*defaultClaimTTL))
	if err := b.CompleteLegacy(t.Context(), muxerOne, job.ID, "manifest.m3u8"); err != nil {
		t.Error(err)
	}
}

func TestLegacyMuxersGetWhatIsTheirs(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	pinned := fixtureRequest
	pinned.MuxID = 2
	job := b.submit(pinned)
	b.takes(muxerOne, 0)
	if got, err := b.ClaimLegacy(t.Context(), muxerTwo, func(transcode.Request) bool { return false }); got != nil || err != nil {
		t.Errorf("a job that does not fit: %v, %v; want none", got, err)
	}
	b.takes(muxerTwo, job.ID)
	if source, err := b.LegacySource(t.Context(), muxerTwo, job.ID); source != sourceName || err != nil {
		t.Errorf("LegacySource = %q, %v; want %q", source, err, sourceName)
	}
	if _, err := b.LegacySource(t.Context(), muxerOne, job.ID); !errors.Is(err, ErrNotClaimed) {
		t.Errorf("LegacySource of another: %v; want %v", err, ErrNotClaimed)
	}
}

// What is in the place of a stream and no muxer has made is not touched, however
// its attempt ends, and what a muxer left of none is in nobody's way.
func TestLegacyDirsOfOthersStay(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it makes files of two users")
	}
	for name, test := range map[string]struct {
		place func(b *bench) string // puts it there, and returns what must stay
		end   func(b *bench, job int64) error
	}{
		"a directory, and it fails":    {(*bench).makes, func(b *bench, job int64) error { return b.FailLegacy(b.t.Context(), muxerOne, job, "FFmpegErr") }},
		"a directory, and it is tried": {(*bench).makes, func(b *bench, job int64) error { return b.BeginLegacy(muxerOne, job) }},
		"a link": {func(b *bench) string {
			kept := b.media("films/kept")
			if err := errors.Join(os.Mkdir(kept, 0o755), os.Chown(kept, transcode.MuxerUID, transcode.MuxerUID), os.Symlink("kept", b.media(LegacyDir(sourceName)))); err != nil {
				b.t.Fatal(err)
			}
			return kept
		}, func(b *bench, job int64) error { return b.FailLegacy(b.t.Context(), muxerOne, job, "FFmpegErr") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startMuxers(t)
			job := b.submit(fixtureRequest)
			b.takes(muxerOne, job.ID)
			stays := test.place(b)
			if err := test.end(b, job.ID); err != nil {
				t.Fatal(err)
			}
			b.takes(muxerOne, 0)
			b.expireClaims(t.Context(), time.Now().Add(defaultLegacyTTL+time.Hour))
			for _, name := range []string{stays, b.media(LegacyDir(sourceName))} {
				if _, err := os.Lstat(name); err != nil {
					t.Errorf("what no muxer made: %v", err)
				}
			}
		})
	}
}

// A stream that nobody is at, and a muxer has made, does not keep others from
// the job: the daemon was killed before it cleared it away, or a muxer has made
// the directory of a job that it was never given.
func TestLegacyLeftover(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	dir := b.writes()
	b.takes(muxerOne, job.ID)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left: %v; want it gone", err)
	}
}

// While a muxer is at a video no other gets a job of the same, and what it has
// written is its own, however other attempts end.
func TestLegacyMuxersOfOneSource(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	first := b.submit(fixtureRequest)
	again := fixtureRequest
	again.Name = "again"
	second := b.submit(again)
	b.takes(muxerOne, first.ID)
	b.takes(muxerTwo, 0)
	if err := b.FailLegacy(t.Context(), muxerOne, first.ID, "FFmpegErr"); err != nil {
		t.Fatal(err)
	}
	pause := true
	if _, err := b.Change(t.Context(), first.ID, Change{Paused: &pause}); err != nil {
		t.Fatal(err)
	}
	b.takes(muxerTwo, second.ID)
	dir := b.writes()
	// The end of the first attempt, as a daemon would have cleared up after it
	// that was killed before it could.
	b.clearEnded(t.Context(), []UnitEvent{{Event: EventFailed, Worker: muxerOne.Name(), Job: first.ID, Unit: probeUnit, Attempt: 1}})
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the stream of the second muxer: %v", err)
	}
}

// A source that is gone is tried once, and a muxer that does not see one that is
// there reports it.
func TestLegacyMissingFile(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	b.takes(muxerOne, job.ID)
	if err := b.FailLegacy(t.Context(), muxerOne, job.ID, "MissingFile"); err != nil {
		t.Fatal(err)
	}
	now, err := b.Job(t.Context(), job.ID)
	if err != nil || now.State.Ended() || !strings.Contains(now.Units[0].FailedWhy, "has its muxer mounted the share") {
		t.Errorf("a muxer that sees no source: %+v, %v; want it to continue and to say why", now, err)
	}
	b.takes(muxerOne, job.ID)
	if err := os.Remove(b.media(sourceName)); err != nil {
		t.Fatal(err)
	}
	if err := b.FailLegacy(t.Context(), muxerOne, job.ID, "MissingFile"); err != nil {
		t.Fatal(err)
	}
	if now = b.waitEnd(job.ID); now.State != Failed || now.Reason != sourceName+" is not there (its muxer: MissingFile)" {
		t.Errorf("job = %+v; want it failed because its source is gone", now)
	}
}

// A muxer that breaks off over and over is named, and how.
func TestLegacyMuxerBreaksOff(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	b.takes(muxerOne, job.ID)
	for range maxAttempts {
		if err := b.BeginLegacy(muxerOne, job.ID); err != nil {
			t.Fatal(err)
		}
		again, err := b.ClaimLegacy(t.Context(), muxerOne, anyRequest)
		if err != nil {
			t.Fatal(err)
		}
		now, err := b.Job(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		const why = "its muxer asked for work again before it had said how this job ended: it broke off or was restarted, and had not made test clip.mp4.hls"
		if u := now.Units[0]; u.FailedOn != muxerOne.Name() || !strings.HasPrefix(u.FailedWhy, why) {
			t.Errorf("it failed on %q: %q; want %q", u.FailedOn, u.FailedWhy, why)
		}
		if again == nil {
			want := "the whole video was tried 5 times, the last time by " + muxerOne.Name() + ": " + why
			if now.State != Failed || !strings.HasPrefix(now.Reason, want) {
				t.Errorf("job = %+v; want %q", now, want)
			}
		}
	}
}

// A claim that is granted while the queue still reads those of an earlier process is
// not taken for one of them: what its worker has reported counts.
func TestClaimGrantedWhileOthersAreAdopted(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	b.takes(muxerOne, job.ID)
	if err := b.BeginLegacy(muxerOne, job.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.adoptClaims(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if c, ok := b.claims.ofWorker(muxerOne.Name(), unitKey{job.ID, probeUnit}); !ok || c.heard.IsZero() || c.adopted {
		t.Errorf("the claim is %+v, %v; want it as its worker has reported", c, ok)
	}
}

// A muxer that brings nothing to an end is a trouble until it does.
func TestLegacyTroubles(t *testing.T) {
	t.Parallel()
	b := startMuxers(t)
	job := b.submit(fixtureRequest)
	want := func(failures int, reason string) {
		t.Helper()
		got, err := b.LegacyTroubles(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if failures == 0 {
			if len(got) != 0 {
				t.Errorf("troubles = %+v; want none", got)
			}
			return
		}
		if len(got) != 1 || got[0].Worker != muxerOne.Name() || got[0].Failures != failures || got[0].Job != job.ID || got[0].Reason != reason {
			t.Errorf("troubles = %+v; want %d of %s with %q", got, failures, muxerOne.Name(), reason)
		}
	}
	want(0, "")
	for i, reason := range []string{"FFmpegErr", "CantGetBitRate"} {
		b.takes(muxerOne, job.ID)
		want(i, "FFmpegErr")
		if err := b.FailLegacy(t.Context(), muxerOne, job.ID, reason); err != nil {
			t.Fatal(err)
		}
		want(i+1, reason)
	}
	b.takes(muxerOne, job.ID)
	if err := b.CompleteLegacy(t.Context(), muxerOne, job.ID, "manifest.m3u8"); err != nil {
		t.Fatal(err)
	}
	want(0, "")
}
