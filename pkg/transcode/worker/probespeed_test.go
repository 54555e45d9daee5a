//go:build bench

package worker

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestProbeSpeed prints how much CPU time the probe of a sound hour takes beside ffprobe, which
// lists its packets to nobody. They take turns, so that whatever else this machine does
// befalls both alike.
func TestProbeSpeed(t *testing.T) {
	const rounds = 9
	clip := makeSource(t, "clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=25:d=60 -f lavfi -i sine=440:d=60 "+x264+"-c:a aac")
	hour := filepath.Join(t.TempDir(), "hour.mp4")
	ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-stream_loop", "59", "-i", clip, "-c", "copy", hour)
	var plain, ours, plainCPU, oursCPU []float64
	for range rounds {
		took, cpu := timed(t, func() error { return exec.Command("nice", "ffprobe", "-v", "error", "-show_packets", hour).Run() })
		plain, plainCPU = append(plain, took), append(plainCPU, cpu)
		took, cpu = timed(t, func() error {
			_, _, err := (&Worker{}).probe(t.Context(), hour, newPulse(time.Now()))
			return err
		})
		ours, oursCPU = append(ours, took), append(oursCPU, cpu)
	}
	t.Logf("an hour, medians of %d runs in turn", rounds)
	t.Logf("1  ffprobe -show_packets   %6.2f s, of CPU %6.2f s", median(plain), median(plainCPU))
	t.Logf("2  probe                   %6.2f s, of CPU %6.2f s  CPU to row 1: %.2f (want <= 1.10)",
		median(ours), median(oursCPU), median(oursCPU)/median(plainCPU))
}

// timed returns the time that f takes, and that of all CPUs, in seconds.
func timed(t *testing.T, f func() error) (took, cpu float64) {
	t.Helper()
	began, before := time.Now(), cpuSeconds(t)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began).Seconds(), cpuSeconds(t) - before
}

// cpuSeconds returns the CPU time of this process and of those that it has waited for.
func cpuSeconds(t *testing.T) float64 {
	t.Helper()
	sum := time.Duration(0)
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		if err := syscall.Getrusage(who, &used); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	return sum.Seconds()
}
