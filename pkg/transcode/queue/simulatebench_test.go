//go:build bench

package queue

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// A film of two hours on two hundred boards, a twentieth of which die, whole and while it
// is watched: the time
// it takes beside what the boards that live would need with nothing lost. The
// speeds are those of boards that make all renditions of 1080p, and the claims
// those of every day: were it all faster, the disk that this queue shares with
// the files of two hundred boards would be what is measured.
func TestSimulatedFilm(t *testing.T) {
	for _, progressive := range []bool{false, true} {
		s := simulation{nodes: 200, dead: 10, film: 7200, speeds: mixed(10), ttl: defaultClaimTTL, progressive: progressive}
		got := s.run(t)
		ms := time.Millisecond
		t.Logf("200 nodes, 10 die, %d units, %d stragglers, progressive: %t", got.units, got.doubled, progressive)
		t.Logf("took %v; ideal %v; a chunk on an average node %v", got.took.Round(ms), got.ideal.Round(ms), got.chunk.Round(ms))
		t.Logf("lost: at the beginning %v, between units %v, to stragglers %v, at the end %v",
			got.lost.begin.Round(ms), got.lost.between.Round(ms), got.lost.doubled.Round(ms), got.lost.end.Round(ms))
		bound := got.ideal + 3*got.ideal/100 + got.chunk
		ratio := got.took.Seconds() / bound.Seconds()
		t.Logf("%.2f of 1.03 x ideal + one chunk", ratio)
		if ratio > 1 {
			t.Errorf("took %v; want %v at most", got.took.Round(ms), bound.Round(ms))
		}
	}
}

// Ten thousand jobs wait, and boards ask for work all the time.
func TestClaimsOfManyJobs(t *testing.T) {
	b := start(t, newDirs(t), func(o *Options) { o.OnUnit = nil })
	err := b.write(t.Context(), func(s *transaction) error {
		for i := range maxUnfinished {
			if _, err := s.addJob(t.Context(), named(fmt.Sprint("film ", i)), fmt.Sprint(i), sourceStamp{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for i := range 20 {
		m := b.join(fmt.Sprintf("pi%d", i), transcode.Hello{})
		for range 50 {
			began := time.Now()
			grant := m.claim()
			took = append(took, time.Since(began))
			m.failed(transcode.Failed{Job: grant.Job, Unit: grant.Unit.ID, Attempt: grant.Attempt, Reason: "stopped", Stopped: true})
		}
	}
	slices.Sort(took)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	rss, _, _ = strings.Cut(rss, "\n")
	t.Logf("%d jobs wait; a claim takes %v, p99 %v; resident: %s (with the clients)", maxUnfinished,
		took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), strings.TrimSpace(rss))
}
