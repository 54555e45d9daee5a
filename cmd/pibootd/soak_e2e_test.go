//go:build e2e

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/internal/skew"
	"pibootd/pkg/fleet"
	"pibootd/pkg/transcode"
)

// Boards boot, use their roots, do units of work and lose their power, at random, while videos
// are handed in. Daemon, keeper and workers are killed, the disk fills up, and in the long form
// the daemon's clock is set, and with an odd seed the queue has a NATS server of its own, which is
// killed, too. Then every video has been made once, no board has lost what it had
// written or met a stale handle, the log has no error that none of this explains, and nothing has
// grown: in the second half of the time the daemon is let live, so that it could. `make soak-all`
// is the long form.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := newSoak(t)
	s.addBoards(t)
	s.recordUnits(t)
	s.began = time.Now()
	alive, end := context.WithCancel(t.Context()) // what runs until the last job is done
	busy, calm := context.WithTimeout(alive, s.duration)
	defer calm()
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	for i := range s.boards {
		running.Go(func() { s.newBoard(i).live(busy, alive) })
	}
	for i := range soakWorkers {
		running.Go(func() { s.encode(busy, alive, i) })
	}
	running.Go(func() { s.submit(busy) })
	running.Go(func() { s.fillDisk(busy) })
	running.Go(func() { s.setClock(busy) })
	running.Go(func() { s.killBroker(busy) })
	running.Go(func() { s.measure(busy) })
	running.Go(func() { s.follow(alive) })
	s.killDaemons(busy, t)
	<-busy.Done()
	s.waitForJobs(alive)
	end()
	running.Wait()
	s.check(t)
	s.report(t)
}

const (
	soakWorkers = 2 // workers with ffmpeg, on this machine
	soakBoots   = 8 // boots at a time
	soakKeep    = 50
)

// A soak is one such time.
type soak struct {
	*lab
	boards   int
	duration time.Duration
	pace     time.Duration // something happens about that often
	seed     uint64
	clock    string // the file of the daemon's clock; "": it is this machine's
	began    time.Time
	booting  chan struct{} // has an element for each boot
	storm    atomic.Bool   // daemons are being killed
	keepers  []*process
	encoders [soakWorkers][]string // their programs and arguments
	recorded recording
	config   string      // the daemon's
	broker   *soakBroker // a NATS server of its own; nil: it is in the daemon

	mu       sync.Mutex
	trouble  time.Time // until when boots may fail
	counts   map[string]int
	odd      []string // what nothing explains
	samples  []sample
	jobs     map[int64]*soakJob
	accepted map[string]int // attempts by unit
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{
		boards: 12, duration: 25 * time.Second, seed: uint64(time.Now().UnixNano()),
		booting: make(chan struct{}, soakBoots), counts: map[string]int{}, jobs: map[int64]*soakJob{}, accepted: map[string]int{},
	}
	s.settings(t)
	t.Logf("SOAK_SEED=%d BOARDS=%d SOAK_TIME=%s", s.seed, s.boards, s.duration)
	s.pace = min(s.duration/10, 30*time.Second)
	s.lab = newLab(t)
	if s.duration >= 2*time.Minute { // less is not worth compiling everything once more
		s.binary, s.clock = skew.Build(t), filepath.Join(t.TempDir(), "clock")
		if err := skew.Set(s.clock, 0); err != nil {
			t.Fatal(err)
		}
		s.env = append(s.env, skew.File+"="+s.clock)
	}
	s.ownDisk(t)
	s.storm.Store(true)
	s.config = filepath.Join(t.TempDir(), "pibootd.toml")
	ownBroker := ""
	if s.clock != "" && s.seed%2 == 1 {
		ownBroker = s.useOwnBroker(t)
	}
	putText(t, s.config, fmt.Sprintf("[queue]\nkeep = %d\n%s[logs]\nboard_mb = 1\n[dhcp]\naddresses = \"10.77.0.241-10.77.0.250\"\n", soakKeep, ownBroker))
	s.importTiny(t, pi3Files...)
	s.keep(t)
	return s
}

// settings reads what `make soak-all` was given.
func (s *soak) settings(t *testing.T) {
	t.Helper()
	var err error
	if text := os.Getenv("BOARDS"); text != "" {
		if s.boards, err = strconv.Atoi(text); err != nil || s.boards <= soakWorkers || s.boards > 228 {
			t.Fatalf("BOARDS=%s; want %d to 228", text, soakWorkers+1)
		}
	}
	if text := os.Getenv("SOAK_TIME"); text != "" {
		if s.duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK_TIME=%s; want a time such as 30m", text)
		}
	}
	if text := os.Getenv("SOAK_SEED"); text != "" {
		if s.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SOAK_SEED=%s; want the number that a soak has printed", text)
		}
	}
}

// ownDisk puts the state on a file system of its own, which can be full.
func (s *soak) ownDisk(t *testing.T) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	tool(t, "truncate", "-s", "8G", image)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-m", "0", image)
	tool(t, "mount", "-o", "loop", image, s.state)
	t.Cleanup(func() {
		s.unmountRoots(t)
		if err := unix.Unmount(s.state, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// keep starts a keeper with a daemon.
func (s *soak) keep(t *testing.T) {
	t.Helper()
	s.daemon = s.start(t, "keep", "--", "serve", "--interface", "br0", "--state-dir", s.state, "--config", s.config)
	s.keepers = append(s.keepers, s.daemon)
	s.daemon.waitFor(t, "msg=serving")
}

// addBoards registers all boards. Every other has a root of its own files.
func (s *soak) addBoards(t *testing.T) {
	t.Helper()
	var adding errgroup.Group
	adding.SetLimit(4)
	for i := range s.boards + soakWorkers {
		b := s.newBoard(i)
		adding.Go(func() error {
			clone := []string{"copy", "overlay"}[i%2]
			_, err := s.client.AddPi(t.Context(), fleet.Request{MAC: b.pi.MAC, Serial: b.pi.Serial, IP: b.addr.Addr(), Template: "tiny", Clone: clone}, func(string, int64, int64) {})
			return err
		})
	}
	if err := adding.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range s.encoders {
		s.encoders[i] = s.workerOf(t, s.newBoard(s.boards+i).pi.Serial)
	}
}

// A dice decides. Those of one seed and role decide the same.
type dice struct{ *rand.Rand }

func (s *soak) dice(role uint64) dice { return dice{rand.New(rand.NewPCG(s.seed, role))} }

// The roles of dice; those of boards and workers are counted on from these.
const (
	submitRole uint64 = iota
	diskRole
	clockRole
	killRole
	brokerRole
	workerRole = 100
	boardRole  = 1000
	workRole   = 2000
)

func (d dice) pick(a, b time.Duration) time.Duration { return a + time.Duration(d.Int64N(int64(b-a))) }

// between waits for a time between a and b. It reports whether that has passed.
func (d dice) between(ctx context.Context, a, b time.Duration) bool {
	return pause.For(ctx, d.pick(a, b))
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// note keeps what nothing explains.
func (s *soak) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.odd) < 100 {
		s.odd = append(s.odd, time.Since(s.began).Round(time.Second).String()+": "+fmt.Sprintf(format, args...))
	}
}

// expect says that boots may fail from now until d has passed.
func (s *soak) expect(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = time.Now().Add(d)
}

// explains reports whether something that began then may have failed.
func (s *soak) explains(began time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return began.Before(s.trouble)
}

// killDaemons kills the daemon, its keeper or both, or restarts it, in the first half of the time.
func (s *soak) killDaemons(ctx context.Context, t *testing.T) {
	defer s.storm.Store(false)
	half, cancel := context.WithTimeout(ctx, s.duration/2)
	defer cancel()
	for d := s.dice(killRole); d.between(half, s.pace/2, 2*s.pace); {
		pid := s.nextPID(t, 0)
		s.expect(labTimeout)
		switch d.IntN(4) {
		case 0:
			s.count("keepers killed")
			s.daemon.signal(t, syscall.SIGKILL)
			waitUntil(t, "the daemon does not end with its keeper", func() bool { return hasEnded(pid) })
			<-s.daemon.ended
			s.keep(t)
		case 1:
			s.count("daemons restarted")
			s.daemon.signal(t, syscall.SIGHUP)
		default:
			s.count("daemons killed")
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		s.nextPID(t, pid)
		s.expect(20 * time.Second) // for what they were in the middle of
	}
}

// hasEnded reports whether a process has ended, though nobody may have waited for it.
func hasEnded(pid int) bool {
	_, state, _ := strings.Cut(readAll(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
	return state == "" || state[0] == 'Z'
}

// fillDisk fills the disk for some time, now and then.
func (s *soak) fillDisk(ctx context.Context) {
	for d := s.dice(diskRole); d.between(ctx, s.pace, 4*s.pace); {
		s.count("full disks")
		file, err := os.Create(filepath.Join(s.state, "filler"))
		if err != nil {
			continue
		}
		var disk unix.Statfs_t
		if err := unix.Fstatfs(int(file.Fd()), &disk); err != nil {
			s.note("filling the disk: %v", err)
		}
		offset := int64(0)
		for size := int64(disk.Bfree) * disk.Bsize; size >= disk.Bsize; size /= 2 {
			for unix.Fallocate(int(file.Fd()), 0, offset, size) == nil {
				offset += size
			}
		}
		d.between(ctx, s.pace/10, s.pace/2)
		if err := os.Remove(file.Name()); err != nil {
			s.note("freeing the disk: %v", err)
		}
		_ = file.Close()
	}
}

// setClock sets the daemon's clock to other times, and right again.
func (s *soak) setClock(ctx context.Context) {
	if s.clock == "" {
		return
	}
	offsets := []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour}
	for d := s.dice(clockRole); d.between(ctx, s.pace/2, 3*s.pace); {
		offset := offsets[d.IntN(len(offsets))]
		if d.IntN(2) == 0 {
			offset = -offset
		}
		if d.IntN(3) == 0 {
			offset = 0
		}
		s.count("clocks set")
		if err := skew.Set(s.clock, offset); err != nil {
			s.note("setting the clock: %v", err)
		}
	}
}

// submit hands in videos, as many as the boards can do.
func (s *soak) submit(ctx context.Context) {
	d := s.dice(submitRole)
	for n := 1; d.between(ctx, 200*time.Millisecond, 2*time.Second); n++ {
		if s.unfinished() > soakKeep/2 {
			continue
		}
		submitted, err := s.client.Submit(ctx, transcode.Request{Source: soakSource, Name: fmt.Sprintf("film %d", n), SegmentSeconds: 2}, false)
		if err != nil {
			s.count("jobs refused while the daemon was away or the disk full")
			continue
		}
		s.mu.Lock()
		s.jobs[submitted.Job.ID] = &soakJob{name: submitted.Job.Output}
		s.mu.Unlock()
	}
}

var explained = regexp.MustCompile(`no space left|MB free|MB are free|is full|database or disk is full|disk I/O error|signal: killed`)
