//go:build release

package main

import (
	"bufio"
	"cmp"
	"debug/elf"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/transcode/queue"
)

// A full Debian, built from its packages, netboots, transcodes a video, and
// upgrades itself. PIBOOTD_TEST_RELEASE names another release than the default one.
func TestDebianNetboots(t *testing.T) {
	l := newLab(t)
	key, keys := newKey(t)
	made := buildDebian64(t, l, keys)
	isWhole(t, filepath.Join(l.state, "templates/muxer/1/root"), elf.EM_AARCH64)
	if !slices.Contains(made.Boards, pi.Pi3) || !slices.Contains(made.Boards, pi.Pi4) {
		t.Errorf("the template has all boot files for %q; want a Pi 3 and a Pi 4 among them", made.Boards)
	}

	l.serve(t)
	var four registry.Pi
	for name, address := range map[string][]string{"three": {"b8:27:eb:00:00:03", "10000003"}, "four": {"dc:a6:32:00:00:04", "10000004"}} {
		added := decode[fleet.Added](t, l, "add-pi", "--mac", address[0], "--serial", address[1], "--name", name, "--template", "muxer")
		if name == "four" {
			four = added.Pi
		}
	}
	// What a Pi 3 asks for is there, too; it takes QEMU as long to boot as a Pi 4.
	l.pibootd(t, "rehearse", "three")
	began := time.Now()
	board := l.start(t, "rehearse", "four", "--qemu", "--memory", "1024")
	board.waitFor(t, "worker online")
	t.Logf("from power-on to the worker being online: %s", time.Since(began).Round(time.Second))

	video := filepath.Join(t.TempDir(), "video.mp4")
	makeVideo(t, video, "2")
	began = time.Now()
	l.pibootd(t, "transcode", video, "--wait")
	if jobs, err := l.client.Jobs(t.Context()); err != nil || len(jobs) != 1 || jobs[0].State != queue.Done {
		t.Errorf("jobs: %+v, %v; want one that is done", jobs, err)
	}
	t.Logf("transcoding 2 s of video: %s", time.Since(began).Round(time.Second))
	kernel := l.login(t, four.Serial, four.IP, key).upgradesItself(t, l.proxy(t))
	if err := board.end(t, syscall.SIGINT); err != nil {
		t.Errorf("the rehearsal ends with %v; want nil", err)
	}

	board = l.start(t, "rehearse", "four", "--qemu", "--memory", "1024")
	board.waitFor(t, "worker online")
	l.login(t, four.Serial, four.IP, key).bootsKernel(t, kernel)
	if out := l.pibootd(t, "doctor", "four"); strings.Contains(out, "warning ") || strings.Contains(out, "problem ") {
		t.Errorf("after its upgrade, doctor says of the board:\n%s", out)
	}
	if err := board.end(t, syscall.SIGINT); err != nil {
		t.Errorf("the rehearsal ends with %v; want nil", err)
	}
}

// A full Debian for 32-bit boards has all that a Pi asks for.
func TestDebianFor32Bits(t *testing.T) {
	l := newLab(t)
	made := buildFull(t, l, "small", "--arch", "armhf")
	isWhole(t, filepath.Join(l.state, "templates/small/1/root"), elf.EM_ARM)
	if made.Arch != pi.ARMv7 || !slices.Contains(made.Boards, pi.Pi3) || !slices.Contains(made.Boards, pi.Pi4) {
		t.Errorf("made %+v; want armv7 with all boot files for a Pi 3 and a Pi 4", made)
	}
	l.serve(t)
	decode[fleet.Added](t, l, "add-pi", "--mac", "b8:27:eb:00:00:03", "--serial", "10000003", "--name", "three", "--template", "small")
	l.pibootd(t, "rehearse", "three")
}

func buildDebian64(t *testing.T, l *lab, keys string) rootfs.Template {
	t.Helper()
	killedBuildLeavesNothing(t, l)
	return buildFull(t, l, "muxer", "--packages", "htop", "--authorized-keys", keys)
}

func buildFull(t *testing.T, l *lab, name string, args ...string) rootfs.Template {
	t.Helper()
	began := time.Now()
	release := cmp.Or(os.Getenv("PIBOOTD_TEST_RELEASE"), "bookworm")
	if mirror := os.Getenv("PIBOOTD_TEST_MIRROR"); mirror != "" {
		args = append(args, "--mirror", mirror)
	}
	cmd := l.build(t, append([]string{"--json", "--release", release}, append(args, name)...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	var made struct {
		rootfs.Template
		Changes []filetree.Change
	}
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	t.Logf("built %s in %s: %s, %d files, %d MB, kernel %q", made, time.Since(began).Round(time.Second), made.OS, made.Files, made.SizeBytes/1e6, made.Kernels)
	for _, change := range made.Changes {
		t.Logf("%s: %s", change.File, change.What)
	}
	if !strings.Contains(made.OS, release) || len(made.Kernels) != 1 {
		t.Errorf("made %+v; want %s with one kernel", made.Template, release)
	}
	return made.Template
}

// killedBuildLeavesNothing kills a build while packages are installed.
func killedBuildLeavesNothing(t *testing.T, l *lab) {
	t.Helper()
	cmd := l.build(t, "killed")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "install  ") {
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the build was killed and says it ended well")
	}
	late := time.Now().Add(labTimeout)
	for left := remains(t, l.state); left != ""; left = remains(t, l.state) {
		if time.Now().After(late) {
			t.Fatalf("a killed build leaves %s", left)
		}
	}
	if out := l.pibootd(t, "template", "list"); !strings.Contains(out, "no template") {
		t.Errorf("template list after a killed build: %q; want none", out)
	}
}

// remains describes a process or mount of a build, or an emulation.
func remains(t *testing.T, state string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), state) {
		return "a mount"
	}
	// Not every kernel shows the emulations in this place.
	if rules, err := filepath.Glob("/proc/sys/fs/binfmt_misc/pibootd-*"); err != nil || len(rules) > 0 {
		return strings.Join(rules, " ")
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		if command, err := os.ReadFile(file); err == nil && strings.Contains(string(command), state) {
			return strings.ReplaceAll(string(command), "\x00", " ")
		}
	}
	return ""
}

// isWhole checks that a root holds nothing of the machine that it was built on.
func isWhole(t *testing.T, tree string, machine elf.Machine) {
	t.Helper()
	for _, name := range []string{"usr/lib/ld-linux-x86-64.so", "usr/lib/x86_64-linux-gnu", "usr/sbin/policy-rc.d", "etc/hostname"} {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			t.Errorf("the root has /%s", name)
		}
	}
	programs := 0
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if strings.HasSuffix(path, ".pibootd") || strings.HasSuffix(path, ".dpkg-new") {
			t.Errorf("the root has %s", path)
		}
		program, err := elf.Open(path)
		if err != nil {
			return nil // not a program
		}
		defer program.Close()
		if strings.HasPrefix(entry.Name(), "start") && strings.HasSuffix(path, ".elf") {
			return nil // the firmware of another processor
		}
		if programs++; program.Machine != machine {
			t.Errorf("%s is for %s; want %s", path, program.Machine, machine)
		}
		return nil
	})
	if err != nil || programs < 1000 {
		t.Errorf("the root has %d programs and modules, %v; want them all", programs, err)
	}
}
