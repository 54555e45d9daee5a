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

// outOfService says why this worker refuses work; "" if it accepts work.
func (s *session) outOfService(ctx context.Context) string {
	lock := s.lockPath()
	if exists(lock) {
		return lock + " is there"
	}
	if s.reply.Load().Drain {
		return "it is drained"
	}
	if hello := s.hello.Load(); !slices.Contains(hello.Encoders, transcode.EncoderX264) {
		return fmt.Sprintf("ffmpeg %s does not encode by %s here; want ffmpeg 5.1 or newer with it", hello.FFmpeg, transcode.EncoderX264)
	}
	free, err := s.mediaStore().free(ctx)
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

// ready waits until this worker can take work, and reports the reason to the queue
// meanwhile. It returns false when ctx ends.
func (s *session) ready(ctx context.Context) bool {
	for ctx.Err() == nil {
		why := s.outOfService(ctx)
		if why != s.hello.Load().Locked {
			s.log().Info("service changed", "out_of_service", why)
			s.updateHello(func(h *transcode.Hello) { h.Locked = why })
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

// applyReply applies the queue's reply to a Hello.
func (s *session) applyReply(r transcode.HelloReply) {
	if s.reply.Swap(&r).Drain && !r.Drain {
		select {
		case s.undrained <- struct{}{}:
		default:
		}
	}
}

// leastWeight bounds the rest after a unit: a hundred times the time of the unit.
const leastWeight = 0.01

// restLook is how often a resting worker checks whether its weight has changed.
const restLook = 5 * time.Second

// rest waits after a unit, so that the unit's share of the time is the weight that
// the queue has set for this worker.
func (s *session) rest(ctx context.Context, took time.Duration) {
	for began := time.Now(); ctx.Err() == nil; {
		left := restAfter(took, s.reply.Load().Weight) - time.Since(began)
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

// updateHello changes this worker's Hello and sends it soon.
func (s *session) updateHello(change func(*transcode.Hello)) {
	s.helloMu.Lock()
	hello := *s.hello.Load()
	change(&hello)
	s.hello.Store(&hello)
	s.helloMu.Unlock()
	s.helloSoon()
}

// helloSoon makes helloLoop send now.
func (s *session) helloSoon() {
	select {
	case s.known <- struct{}{}:
	default: // one is pending already
	}
}

const (
	// speedWeight is the share of the latest unit in a measured speed.
	speedWeight = 0.3
	maxSpeeds   = 64
)

// measured adds the speed of a unit to the moving averages.
func (s *session) measured(u transcode.VideoUnit, fps float64) {
	if !(fps > 0) {
		return
	}
	encoder, lines := encoderOf(u), u.Lines()
	s.updateHello(func(h *transcode.Hello) {
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

// maxUnproven is the number of unproved results after which a hardware encoder is no
// longer used.
const maxUnproven = 2

// unproven records a unit whose result did not prove right. A hardware encoder that
// fails repeatedly is no longer offered, because faults of its driver show only in
// the result.
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
	s.updateHello(func(h *transcode.Hello) {
		h.Encoders = slices.DeleteFunc(slices.Clone(h.Encoders), func(e string) bool { return e == encoder })
	})
}

// proven resets the failures of a unit's encoder.
func (s *session) proven(u transcode.Unit) {
	if u.Video != nil {
		delete(s.failures, encoderOf(*u.Video))
	}
}
