//go:build release

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/fleet"
	"pibootd/pkg/web"
)

// The container image is the same bytes twice. A container of it that has what
// its compose file gives it, and no more, builds a template, imports an archive and a disk
// image, boots a virtual board, and transcodes.
func TestImage(t *testing.T) {
	c := &container{lab: newLab(t), storage: t.TempDir()}
	c.load(t, buildImage(t))
	c.buildsTemplate(t)
	c.serves(t)
	c.isConfined(t)
	c.imports(t)
	c.boots(t)
	c.restarts(t)
	c.transcodes(t)
	c.podman(t, "stop", "pibootd")
	<-c.daemon.ended
	if c.daemon.err != nil {
		t.Errorf("the container, stopped: %v; want it to end with 0", c.daemon.err)
	}
}

// buildImage builds the image twice, and returns its file.
func buildImage(t *testing.T) string {
	t.Helper()
	arch := cmp.Or(map[string]string{"arm": "armhf"}[runtime.GOARCH], runtime.GOARCH)
	var files [2]string
	for n := range files {
		out := t.TempDir()
		runIn(t, append(os.Environ(), "OUT="+out), "scripts/image", arch)
		files[n] = theFile(t, out, "pibootd_*_image_"+arch+".tar")
	}
	runIn(t, nil, "cmp", files[0], files[1])
	for _, form := range []string{"oci-archive:", "docker-archive:"} {
		var about struct {
			Architecture string
			Labels       map[string]string
		}
		text := output(t, "skopeo", "inspect", form+files[0])
		if err := json.Unmarshal([]byte(text), &about); err != nil || about.Architecture != runtime.GOARCH || about.Labels["org.opencontainers.image.title"] != "pibootd" {
			t.Errorf("skopeo inspect %s: %v\n%s\nwant this machine's architecture and the title pibootd", form, err, text)
		}
	}
	config := output(t, "skopeo", "inspect", "--config", "--raw", "docker-archive:"+files[0])
	if !strings.Contains(config, `"Healthcheck":{"Test":["CMD","/usr/bin/pibootd","health"]`) {
		t.Errorf("the image's configuration has no health check:\n%s", config)
	}
	return files[0]
}

// output runs a command and returns what it prints to its standard output.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...) // also in a cleanup
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, errs.String())
	}
	return string(out)
}

// A container is a lab whose daemon is in a container.
type container struct {
	*lab
	storage string // of podman
	image   string
}

func (c *container) globals() []string {
	return []string{"--root", filepath.Join(c.storage, "root"), "--runroot", filepath.Join(c.storage, "run"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}
}

func (c *container) podman(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, "podman", append(c.globals(), args...)...)
}

// pibootd runs a command in the container, as docker exec does.
func (c *container) pibootd(t *testing.T, args ...string) string {
	t.Helper()
	return c.podman(t, append([]string{"exec", "pibootd", "pibootd"}, args...)...)
}

func (c *container) load(t *testing.T, file string) {
	t.Helper()
	said := c.podman(t, "load", "--quiet", "--input", file)
	c.image = strings.TrimSpace(strings.TrimPrefix(said, "Loaded image: "))
}

// run returns podman's arguments for a container as the compose file describes
// it. Its directory for state is the lab's.
func (c *container) run(t *testing.T, more ...string) []string {
	t.Helper()
	text := readText(t, "../../packaging/image/compose.yaml")
	args := append(c.globals(), "run", "--rm", "--network", "host", "--read-only", "--read-only-tmpfs=false",
		"--ulimit", openFiles(t), "--ulimit", "nproc=1024:1024", "--volume", c.state+":/var/lib/pibootd")
	for key, flag := range map[string]string{
		"tmpfs": "--tmpfs", "cap_drop": "--cap-drop", "cap_add": "--cap-add", "devices": "--device", "device_cgroup_rules": "--device-cgroup-rule", "security_opt": "--security-opt",
	} {
		values := listOf(text, key)
		if len(values) == 0 {
			t.Fatalf("compose.yaml has no %s", key)
		}
		for _, value := range values {
			args = append(args, flag, composeToPodman(key, value))
		}
	}
	return append(args, more...)
}

// openFiles is the limit of the compose file, or this machine's if that is less.
func openFiles(t *testing.T) string {
	t.Helper()
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("nofile=%d:%[1]d", min(65536, have.Max))
}

// composeToPodman turns a value into podman's way of writing it.
func composeToPodman(key, value string) string {
	if key == "security_opt" {
		return strings.Replace(strings.TrimSuffix(value, ":true"), ":", "=", 1)
	}
	return value
}

// buildsTemplate builds the minimal template in a container, in the machine's
// own network, from which Debian's packages come.
func (c *container) buildsTemplate(t *testing.T) {
	t.Helper()
	cache := cmp.Or(os.Getenv("PIBOOTD_APT_CACHE"), t.TempDir())
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, "podman", c.run(t, "--volume", cache+":/cache", c.image, "template", "build", "minimal", "--cache", "/cache")...)
}

func (c *container) serves(t *testing.T) {
	t.Helper()
	health := []string{"--health-cmd", "pibootd health", "--health-interval", "disable"} // which would need systemd's timers
	c.daemon = c.startProgram(t, "podman", c.run(t, append(health, "--name", "pibootd", c.image, "keep", "--", "serve", "--interface", "br0")...)...)
	t.Cleanup(func() { c.podman(t, "rm", "--force", "--ignore", "--time", "0", "pibootd") })
	c.daemon.waitFor(t, "msg=serving")
	c.podman(t, "healthcheck", "run", "pibootd")
}

// isConfined compares the container's capabilities with those of the compose file.
func (c *container) isConfined(t *testing.T) {
	t.Helper()
	var have []string
	for name := range strings.FieldsSeq(c.podman(t, "inspect", "--format", `{{join .EffectiveCaps " "}}`, "pibootd")) {
		have = append(have, strings.TrimPrefix(name, "CAP_"))
	}
	slices.Sort(have)
	if want := listOf(readText(t, "../../packaging/image/compose.yaml"), "cap_add"); !slices.Equal(have, want) {
		t.Errorf("capabilities of the container = %q; want %q", have, want)
	}
	status := c.podman(t, "exec", "pibootd", "cat", "/proc/1/status")
	for _, line := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(status, line) {
			t.Errorf("the container's first process has not %q in its status:\n%s", line, status)
		}
	}
}

// imports imports an archive that xz packed, and a disk image.
func (c *container) imports(t *testing.T) {
	t.Helper()
	runIn(t, nil, "tar", "--use-compress-program=xz -0 -T0", "-C", filepath.Join(c.state, "templates/minimal/1/root"), "-cf", filepath.Join(c.state, "minimal.tar.xz"), ".")
	runIn(t, nil, "cp", "--sparse=always", sandboxImage(t), filepath.Join(c.state, "card.img"))
	c.pibootd(t, "template", "import", "archive", "minimal.tar.xz")
	c.pibootd(t, "template", "import", "card", "card.img", "--allow-mismatch")
}

// boots adds a board for each of the imports, and boots the one whose boot files
// are small, so that it does so on a busy machine.
func (c *container) boots(t *testing.T) {
	t.Helper()
	for _, board := range [][]string{
		{"--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--template", "archive", "--clone", "copy"},
		{"--mac", "b8:27:eb:33:34:7b", "--serial", "3333347b", "--template", "card", "--clone", "overlay"},
	} {
		var added fleet.Added
		out := c.pibootd(t, append([]string{"add-pi", "--json"}, board...)...)
		if err := json.Unmarshal([]byte(out), &added); err != nil || len(added.Proof) == 0 {
			t.Errorf("add-pi: %v\n%s\nwant its exports proved", err, out)
		}
	}
	c.lab.pibootd(t, "rehearse", "3333347b", "--model", "3B")
}

// restarts has the keeper, the first process, restart the daemon. Commands wait
// meanwhile.
func (c *container) restarts(t *testing.T) {
	t.Helper()
	before := c.info(t)
	c.podman(t, "kill", "--signal", "HUP", "pibootd")
	for deadline := time.Now().Add(labTimeout); c.info(t) == before; {
		if time.Now().After(deadline) {
			t.Fatal("the daemon has not restarted after SIGHUP")
		}
	}
}

// info returns the daemon's process.
func (c *container) info(t *testing.T) int {
	t.Helper()
	var info web.Info
	if err := json.Unmarshal([]byte(c.pibootd(t, "health", "--json")), &info); err != nil {
		t.Fatal(err)
	}
	return info.PID
}

// transcodes has a worker on another machine of the network transcode a video.
func (c *container) transcodes(t *testing.T) {
	t.Helper()
	var added web.AddedMachine
	if err := json.Unmarshal([]byte(c.pibootd(t, "add-worker", "--json", "pc1")), &added); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	token, program := filepath.Join(dir, "token"), absolute(t, "../../bin/worker/pibootd-worker-"+runtime.GOARCH)
	if err := os.WriteFile(token, []byte(added.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := c.startProgram(t, program, "--server", added.Server, "--name", "pc1", "--token-file", token, "--work-dir", filepath.Join(dir, "work"))
	worker.waitFor(t, "worker ready")
	makeVideo(t, filepath.Join(c.state, "media", "film.mp4"), "4")
	playlist := strings.TrimSpace(c.pibootd(t, "transcode", "/var/lib/pibootd/media/film.mp4", "--wait"))
	inside, found := strings.CutPrefix(playlist, "/var/lib/pibootd/")
	if !found {
		t.Fatalf("transcode prints %q; want a path in the state directory", playlist)
	}
	if size := ffprobe(t, filepath.Join(c.state, inside), "-show_entries", "stream=height"); !slices.Contains(size, "180") {
		t.Errorf("heights of what was transcoded = %q; want 180 among them", size)
	}
	worker.signal(t, syscall.SIGTERM)
	<-worker.ended
}
