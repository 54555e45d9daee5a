package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

// LockPath is the file that, while it is there, keeps a board from taking work.
const LockPath = "/home/pi/hlsmux.lock"

// minFreeBytes is what the media share must have free for a worker to begin a
// unit: some segments of the highest rendition.
const minFreeBytes = 512 << 20

// outOfService says why no work is to be taken; "" if it is.
func (s *session) outOfService(ctx context.Context) string {
	lock := s.lockPath()
	if exists(lock) {
		return lock + " is there"
	}
	if s.told.Load().Drain {
		return "it is drained"
	}
	if hello := s.hello.Load(); !slices.Contains(hello.Encoders, transcode.EncoderX264) {
		return fmt.Sprintf("ffmpeg %s does not encode by %s here; want ffmpeg 5.1 or newer with it", hello.FFmpeg, transcode.EncoderX264)
	}
	free, err := s.library().free(ctx)
	if err != nil {
		return err.Error()
	}
	if free < s.minFree() {
		return fmt.Sprintf("the media share has %d MB free; want %d", free>>20, s.minFree()>>20)
	}
	return ""
}

// freeBytes returns what a file system has left for ordinary users. The server
// of an NFS share may not say, which is no reason to stop.
func freeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("looking at the media share: %w", err)
	}
	if fs.Blocks == 0 {
		return 1 << 62, nil
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil
}

// ready waits until work may be taken, and tells whether ctx still goes on. The
// queue is told why it may not.
func (s *session) ready(ctx context.Context) bool {
	for ctx.Err() == nil {
		why := s.outOfService(ctx)
		if why != s.hello.Load().Locked {
			s.log().Info("service changed", "out_of_service", why)
			s.tellMore(func(h *transcode.Hello) { h.Locked = why })
		}
		if why == "" {
			return true
		}
		select {
		case <-ctx.Done():
		case <-s.undrained:
		case <-time.After(s.lockedWait()):
		}
	}
	return false
}

// obey notes what the queue wants with its answer to a Hello.
func (s *session) obey(r transcode.HelloReply) {
	if s.told.Swap(&r).Drain && !r.Drain {
		select {
		case s.undrained <- struct{}{}:
		default:
		}
	}
}

// leastWeight bounds how long a worker rests: a hundred times as long as it worked.
const leastWeight = 0.01

// restLook is how often a worker that rests looks whether it still has to.
const restLook = 5 * time.Second

// rest waits so long after work that took this long that both together have
// the weight that the queue gives this worker.
func (s *session) rest(ctx context.Context, took time.Duration) {
	for began := time.Now(); ctx.Err() == nil; {
		left := restAfter(took, s.told.Load().Weight) - time.Since(began)
		if left <= 0 {
			return
		}
		pause.For(ctx, min(left, restLook))
	}
}

func restAfter(took time.Duration, weight float64) time.Duration {
	if !(weight > 0 && weight < 1) {
		return 0
	}
	return time.Duration(float64(took) * (1/max(weight, leastWeight) - 1))
}

// tellMore changes this worker's hello, and has it sent soon.
func (s *session) tellMore(change func(*transcode.Hello)) {
	s.helloMu.Lock()
	hello := *s.hello.Load()
	change(&hello)
	s.hello.Store(&hello)
	s.helloMu.Unlock()
	s.greetSoon()
}

// greetSoon has hello said soon.
func (s *session) greetSoon() {
	select {
	case s.known <- struct{}{}:
	default: // it will be said anyway
	}
}

const (
	// speedWeight is the share of the latest unit in a measured speed.
	speedWeight = 0.3
	maxSpeeds   = 64
)

// measured makes the speed of a unit part of what is known.
func (s *session) measured(u transcode.VideoUnit, fps float64) {
	if !(fps > 0) {
		return
	}
	encoder, lines := encoderOf(u), u.Lines()
	s.tellMore(func(h *transcode.Hello) {
		h.Speeds = slices.Clone(h.Speeds) // the one before may just be sent
		for i := range h.Speeds {
			if known := &h.Speeds[i]; known.Encoder == encoder && known.Lines == lines {
				known.FPS += speedWeight * (fps - known.FPS)
				return
			}
		}
		if len(h.Speeds) < maxSpeeds {
			h.Speeds = append(h.Speeds, transcode.Speed{Encoder: encoder, Lines: lines, FPS: fps})
		}
	})
}

// maxUnproven is how often a hardware encoder may fail to prove its work.
const maxUnproven = 2

// unproven notes that a unit came to nothing. A hardware encoder to which that
// happens again and again is set aside here: what its driver can do shows only
// in the result.
func (s *session) unproven(u transcode.Unit) {
	if u.Video == nil || encoderDevice(encoderOf(*u.Video)) == "" {
		return
	}
	encoder := encoderOf(*u.Video)
	s.failures[encoder]++
	if s.failures[encoder] < maxUnproven {
		return
	}
	s.log().Warn("encoder set aside", "encoder", encoder)
	s.tellMore(func(h *transcode.Hello) {
		h.Encoders = slices.DeleteFunc(slices.Clone(h.Encoders), func(e string) bool { return e == encoder })
	})
}

// proven forgets failures of a unit's encoder.
func (s *session) proven(u transcode.Unit) {
	if u.Video != nil {
		delete(s.failures, encoderOf(*u.Video))
	}
}
