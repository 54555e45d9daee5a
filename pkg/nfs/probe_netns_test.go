//go:build netns

package nfs

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/nfs/probe"
)

var (
	nasAddr   = netip.MustParseAddr("192.168.1.1")
	boardAddr = netip.MustParseAddr("192.168.1.10")
)

// makeRoot makes what a probe looks for in a root: an init behind the links
// that a Debian has.
func makeRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "usr/lib/systemd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "usr/sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "usr/lib/systemd/systemd"), []byte("init"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"sbin":          "usr/sbin",
		"lib":           "usr/lib",
		"usr/sbin/init": "/lib/systemd/systemd",
		"loop":          "loop",
		"out":           "../../../../etc/hostname",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProbe(t *testing.T) {
	dir := makeRoot(t)
	var events []MountEvent
	s := &Server{Key: testKey(), OnMount: func(e MountEvent) { events = append(events, e) }}
	t.Cleanup(func() { s.Unexport("/roots/1"); s.Unexport("/media"); s.Unexport("/other") })
	mustExport(t, s, Export{ID: 1, Path: "/roots/1", Dir: dir, Clients: []netip.Addr{boardAddr}})
	mustExport(t, s, Export{ID: 2, Path: "/media", Dir: dir, Clients: []netip.Addr{boardAddr}, ReadOnly: true})
	mustExport(t, s, Export{ID: 3, Path: "/other", Dir: dir, Clients: []netip.Addr{nasAddr}})
	tests := []struct {
		name, export string
		want         probe.File
		report       probe.Report
		err          string
	}{
		{"root", "/roots/1", probe.File{Name: "sbin/init", Write: true}, probe.Report{File: "usr/lib/systemd/systemd", Read: 4, Written: probe.Size}, ""},
		{"media", "/media", probe.File{}, probe.Report{File: "."}, ""},
		{"not ours", "/other", probe.File{}, probe.Report{},
			"192.168.1.10 may not mount /other: the address is not one of the export's clients"},
		{"no export", "/roots/2", probe.File{}, probe.Report{}, "192.168.1.10 may not mount /roots/2: no such export"},
		{"no init", "/roots/1", probe.File{Name: "sbin/nothing"}, probe.Report{},
			`192.168.1.10 has mounted /roots/1 but cannot read "sbin/nothing": looking up usr/sbin/nothing: file does not exist`},
		{"read-only", "/media", probe.File{Name: "sbin/init", Write: true}, probe.Report{File: "usr/lib/systemd/systemd", Read: 4},
			"192.168.1.10 has mounted /media but cannot write to it: making .pibootd-probe-"},
		{"loop", "/media", probe.File{Name: "loop"}, probe.Report{}, "more than 40 symbolic links at loop"},
		{"out", "/media", probe.File{Name: "out"}, probe.Report{}, "looking up etc: file does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			report, err := s.Probe(context.Background(), boardAddr, nasAddr, tt.export, tt.want)
			report.Took = 0
			tt.report.From = boardAddr
			if report != tt.report {
				t.Errorf("Probe = %+v; want %+v", report, tt.report)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("Probe = %v; want %q", err, tt.err)
			}
			left, err := filepath.Glob(filepath.Join(dir, ".pibootd-probe-*"))
			if err != nil || len(left) != 0 {
				t.Errorf("the probe left %v, %v", left, err)
			}
		})
	}
	if len(events) != 0 {
		t.Errorf("probes were reported as mounts: %v", events)
	}
}

func TestProbeSweepsWhatABrokenBoardLeft(t *testing.T) {
	dir := makeRoot(t)
	s := &Server{Key: testKey()}
	t.Cleanup(func() { s.Unexport("/roots/1") })
	mustExport(t, s, Export{ID: 1, Path: "/roots/1", Dir: dir, Clients: []netip.Addr{boardAddr}})
	trace := filepath.Join(dir, ".pibootd-probe-1")
	if err := os.WriteFile(trace, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.sweep("/roots/1", ".pibootd-probe-1"); err != nil {
		t.Error(err)
	}
	gone(t, trace)
}

// A board behind a router may share no network with this machine.
func TestProbeOfARemoteBoard(t *testing.T) {
	board, server := netip.MustParseAddr("192.168.2.200"), netip.MustParseAddr("10.0.0.1")
	s := &Server{Key: testKey()}
	t.Cleanup(func() { s.Unexport("/roots/1") })
	mustExport(t, s, Export{ID: 1, Path: "/roots/1", Dir: makeRoot(t), Clients: []netip.Addr{board}})
	if report, err := s.Probe(t.Context(), board, server, "/roots/1", probe.File{Name: "sbin/init", Write: true}); err != nil || report.From != board {
		t.Errorf("Probe = %+v, %v; want a proof from %v", report, err, board)
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	s := &Server{Key: testKey()}
	t.Cleanup(func() { s.Unexport("/roots/1") })
	mustExport(t, s, Export{ID: 1, Path: "/roots/1", Dir: makeRoot(t), Clients: []netip.Addr{boardAddr}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Probe(ctx, boardAddr, nasAddr, "/roots/1", probe.File{Name: "sbin/init"}); err == nil {
		t.Error("Probe = nil; want an error")
	}
}

// A server that asks to try again later, because it counts what a limited export has, is no fault of
// the export: a board waits.
func TestProbeIsPatient(t *testing.T) {
	s := &Server{Key: testKey()}
	t.Cleanup(func() { s.Unexport("/scratch") })
	mustExport(t, s, Export{ID: 1, Path: "/scratch", Dir: t.TempDir(), Clients: []netip.Addr{boardAddr}, MaxBytes: 1 << 20})
	for range cap(s.walking) { // no walk begins
		s.walking <- struct{}{}
	}
	probed := make(chan error, 1)
	go func() {
		_, err := s.Probe(t.Context(), boardAddr, nasAddr, "/scratch", probe.File{Write: true})
		probed <- err
	}()
	waitUntil(t, "the server asks to try again later", func() bool { return statsOf(s, "/scratch", "CREATE").Failed["NFS3ERR_JUKEBOX"] > 0 })
	for range cap(s.walking) {
		<-s.walking
	}
	if err := <-probed; err != nil {
		t.Errorf("Probe = %v; want it to try again", err)
	}
}
