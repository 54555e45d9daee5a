//go:build e2e

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
	"pibootd/pkg/virtualpi"
)

// The disk is full, and the daemon is killed. The next one serves: a board that runs reads its
// root by the handles that it has, and another boots. Without the reserve too the daemon refuses
// to start in one sentence. Once there is room again, videos are transcoded, too.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.mountState(t, 96<<20)
	l.daemon = l.start(t, "keep", "--", "serve", "--interface", "br0", "--state-dir", l.state)
	l.daemon.waitFor(t, "msg=serving")
	makeVideo(t, filepath.Join(l.state, "media", "film.mp4"), "2")
	l.startWorker(t, pi3Files...)
	serial, mac := pi.Serial(0x3333347b), pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7b}
	l.pibootd(t, "add-pi", "--mac", mac.String(), "--serial", serial.String(), "--ip", "10.77.0.60")
	board := l.useRoot(t)
	board.waitForWork(t)

	filler := l.fill(t)
	pid := l.nextPID(t, 0)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.daemon.waitFor(t, "the disk of the state directory is full: boards boot and run")
	l.nextPID(t, pid)
	board.reads(t)
	other := virtualpi.Board{Model: virtualpi.Pi3B, MAC: mac, Serial: serial}
	if _, err := other.PowerOn(t.Context(), virtualpi.Socket{Namespace: l.net, Bridge: "br0"}); err != nil {
		t.Errorf("a board does not boot: %v", err)
	}

	l.daemon.signal(t, syscall.SIGTERM)
	<-l.daemon.ended // with an error: the timeline is not written
	second := l.fill(t)
	_, said, err := l.try(t, "serve", "--interface", "br0", "--state-dir", l.state)
	wantRefused(t, err, said, "the disk of the state directory "+l.state+" is full: ")
	wantIn(t, said, "\nhint: free 8 MB of it")

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	l.daemon = l.start(t, "keep", "--", "serve", "--interface", "br0", "--state-dir", l.state)
	l.daemon.waitFor(t, "msg=serving")
	board.waitForWork(t)
	board.finish(t)
	filler = l.fill(t) // while it runs
	if _, err := l.client.Submit(t.Context(), transcode.Request{Source: "film.mp4", Name: "film"}, false); err == nil {
		t.Error("a job is submitted where the disk is full; want an error")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	submitted, err := l.client.Submit(t.Context(), transcode.Request{Source: "film.mp4", Name: "film"}, false)
	if err != nil {
		t.Fatal(err)
	}
	l.waitFor(t, submitted.Job)
}

// pi3Files are what a Pi 3B needs to boot.
var pi3Files = []string{"bootcode.bin", "start.elf", "fixup.dat", "kernel8.img", "bcm2710-rpi-3-b.dtb"}

// mountState puts the state directory on a file system of its own with this many bytes, and the
// media share on one with as much room as workers want.
func (l *lab) mountState(t *testing.T, size int) {
	t.Helper()
	media := filepath.Join(l.state, "media")
	err := unix.Mount("tmpfs", l.state, "tmpfs", 0, "size="+strconv.Itoa(size))
	if err == nil {
		err = errors.Join(os.Mkdir(media, 0o755), unix.Mount(t.TempDir(), media, "", unix.MS_BIND, ""))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.unmountRoots(t)
		if err := errors.Join(unix.Unmount(media, unix.MNT_DETACH), unix.Unmount(l.state, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
}

// fill fills the disk of the state directory with a file, and returns its name.
func (l *lab) fill(t *testing.T) string {
	t.Helper()
	file, err := os.CreateTemp(l.state, "filler-")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for zeros := make([]byte, 1<<20); len(zeros) > 0; {
		if n, err := file.Write(zeros); err != nil && n == 0 {
			zeros = zeros[:len(zeros)/2]
		}
	}
	return file.Name()
}

// reads has the board read its first file by the handle that it has.
func (u *rootUser) reads(t *testing.T) {
	t.Helper()
	waitUntil(t, "the board cannot read its root", func() bool {
		return u.host.Do(func() (err error) {
			defer probe.Recover(&err)
			target, err := nfsclient.NewTarget("10.77.0.1", rootAuth(), u.dir, "/work")
			if err != nil {
				return err
			}
			defer target.Close()
			return read(target, 0)
		}) == nil
	})
}
