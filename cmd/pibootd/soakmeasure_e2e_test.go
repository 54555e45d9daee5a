//go:build e2e

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"pibootd/pkg/daemon"
)

// measures are what must not grow. The live heap is what the last garbage collection left. The
// memory is more: what calls use at the moment, within limits, and garbage.
var measures = []string{"live heap", "descriptors", "goroutines", "memory", "database", "logs"}

// A sample is what the daemon has at a moment, in the order of measures.
type sample struct {
	at   time.Duration
	calm bool // no daemon is killed any more
	of   [6]float64
}

// measure takes a sample some hundred times.
func (s *soak) measure(ctx context.Context) {
	socket := filepath.Join(s.state, "pibootd.sock")
	client := http.Client{Timeout: answerTime, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	every := time.NewTicker(s.duration / 100)
	defer every.Stop()
	for ctx.Err() == nil {
		if got, err := scrape(ctx, &client); err == nil { // else it is being killed
			database := filepath.Join(s.state, daemon.Database)
			logs := sizeOf(filepath.Join(s.state, "logs"))
			s.mu.Lock()
			s.samples = append(s.samples, sample{at: time.Since(s.began), calm: !s.storm.Load(), of: [6]float64{
				got["go_memstats_next_gc_bytes"] / 2, got["process_open_fds"], got["go_goroutines"], got["process_resident_memory_bytes"], sizeOf(database) + sizeOf(database+"-wal"), logs,
			}})
			s.mu.Unlock()
		}
		select {
		case <-every.C:
		case <-ctx.Done():
		}
	}
}

// scrape reads the daemon's metrics that have no labels.
func scrape(ctx context.Context, client *http.Client) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	got := map[string]float64{}
	for lines := bufio.NewScanner(io.LimitReader(response.Body, 16<<20)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			got[name] = n
		}
	}
	if got["go_goroutines"] == 0 {
		return nil, fmt.Errorf("%s: no metrics of a process", response.Status)
	}
	return got, nil
}

// sizeOf returns how many bytes a file, or the files below a directory have.
func sizeOf(path string) (size float64) {
	_ = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			size += float64(info.Size())
		}
		return nil
	})
	return size
}

// report prints what happened, and fails if something has grown or nothing explains it.
func (s *soak) report(t *testing.T) {
	t.Helper()
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "after\tlive heap MB\tdescriptors\tgoroutines\tmemory MB\tdatabase kB\tlogs kB\t")
	for i, x := range s.samples {
		if i%max(1, len(s.samples)/20) == 0 {
			fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", x.at.Round(time.Second), x.of[0]/1e6, x.of[1], x.of[2], x.of[3]/1e6, x.of[4]/1e3, x.of[5]/1e3)
		}
	}
	_ = table.Flush()
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(&out, "%7d %s\n", s.counts[what], what)
	}
	t.Logf("%d boards for %s:\n%s", s.boards, s.duration, out.String())
	for _, what := range s.odd {
		t.Error(what)
	}
	if s.counts["daemons killed"]+s.counts["keepers killed"]+s.counts["daemons restarted"] == 0 {
		t.Error("no daemon was killed")
	}
	for _, what := range []string{"boots", "jobs done", "full disks", "boards that lost their power", "units done by boards", "numbers written into roots"} {
		if s.counts[what] == 0 {
			t.Errorf("%s: none; want some", what)
		}
	}
	if s.duration >= 10*time.Minute { // before, caches still fill
		s.wantFlat(t)
	}
	s.wantBounded(t)
}

// growing are how many of measures must not grow. The others have limits; those of the database and
// the logs are far above what a soak of less than a day writes. wantBounded looks at these.
const growing = 3

// mostMemory is what the daemon may have, in bytes: 48 MB for NFS calls, twice the live heap of 200
// boards, its program and stacks.
const mostMemory = 256 << 20

// The limits of what a board has in the logs, and about that of what it has in the database.
const (
	boardLogBytes  = 1 << 20
	boardRowsBytes = 1 << 20
)

// wantBounded fails if the memory, the database or the logs have more than their limits.
func (s *soak) wantBounded(t *testing.T) {
	t.Helper()
	for _, x := range s.samples {
		if most := float64(s.boards); x.of[3] > mostMemory || x.of[4] > most*boardRowsBytes || x.of[5] > most*boardLogBytes {
			t.Errorf("after %v the memory has %.0f bytes, the database %.0f and the logs %.0f; want %d, and 1 MB for each of %d boards", x.at, x.of[3], x.of[4], x.of[5], mostMemory, s.boards)
			return
		}
	}
}

// wantFlat fails if a measure of the daemon that was not killed any more has a trend: the median of
// all slopes between two samples, which outliers do not change. The first third warms up.
func (s *soak) wantFlat(t *testing.T) {
	t.Helper()
	calm := slices.DeleteFunc(slices.Clone(s.samples), func(x sample) bool { return !x.calm })
	calm = calm[len(calm)/3:]
	if len(calm) < 10 {
		t.Fatalf("%d samples; want more", len(calm))
	}
	took := (calm[len(calm)-1].at - calm[0].at).Seconds()
	for i, name := range measures {
		var slopes, values []float64
		for a, x := range calm {
			values = append(values, x.of[i])
			for _, y := range calm[a+1:] {
				slopes = append(slopes, (y.of[i]-x.of[i])/(y.at-x.at).Seconds())
			}
		}
		middle, grown := median(values), median(slopes)*took
		t.Logf("%s: median %.0f, trend %+.1f %% in %.0f s", name, middle, 100*grown/max(middle, 1), took)
		if i < growing && grown > middle/5 {
			t.Errorf("%s has grown by %.0f in %.0f s, from about %.0f; want it flat", name, grown, took, middle)
		}
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
