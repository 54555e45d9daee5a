package rootfs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/roottest"
)

const updatedSerial = pi.Serial(0x3333347a)

// former is the configuration that commit b738a06 wrote, of the worker that
// refuses one with any other key.
const former = `{
	"name": "3333347a",
	"token": "0123456789abcdef",
	"queue_url": "nats://10.0.0.1:4222",
	"server": "10.0.0.1",
	"media_export": "/media",
	"nfs_port": 2049
}
`

// A formerConfig is what that worker reads.
type formerConfig struct {
	Name        string     `json:"name"`
	Token       string     `json:"token"`
	QueueURL    string     `json:"queue_url"`
	Server      netip.Addr `json:"server"`
	MediaExport string     `json:"media_export"`
	NFSPort     int        `json:"nfs_port"`
	MediaDir    string     `json:"media_dir,omitempty"`
	Daemon      string     `json:"daemon,omitempty"`
	WorkDir     string     `json:"work_dir,omitempty"`
}

// formerWorker is larger than what is written at once.
var formerWorker = strings.Repeat("the worker of b738a06\n", 100_000)

func testRoots(t *testing.T, dir string) *Roots {
	t.Helper()
	return &Roots{Dir: dir, worker: func(arch pi.Arch) ([]byte, error) { return []byte("worker for " + arch), nil }}
}

func identityOf(serial pi.Serial, name string) Identity {
	return Identity{Hostname: name, Worker: WorkerConfig{Name: serial.String(), Token: "token of " + name, Services: Services{Server: netip.MustParseAddr("10.0.0.1")}}}
}

func servicesOf(serial pi.Serial) Services {
	return Services{
		QueueURL: "nats://10.0.0.1:4222", Server: netip.MustParseAddr("10.0.0.1"), MediaExport: "/media",
		NFSPort: 2049, ScratchExport: "/scratch/" + serial.String(),
	}
}

// formerRoot makes the root of a board as commit b738a06 has left it.
func formerRoot(t *testing.T, r *Roots) string {
	t.Helper()
	dir := r.Path(updatedSerial)
	roottest.Spec{images.WorkerFile: formerWorker, images.WorkerConfigFile: former}.Make(t, dir)
	err := errors.Join(os.Chmod(filepath.Join(dir, images.WorkerFile), 0o755), os.Chmod(filepath.Join(dir, images.WorkerConfigFile), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func update(r *Roots) (bool, error) {
	return r.UpdateWorkers().Root(updatedSerial, pi.ARM64, servicesOf(updatedSerial))
}

// checkUpdated looks whether a root has the worker of today, and that of before
// for the board that still runs it.
func checkUpdated(t *testing.T, dir, keys string) {
	t.Helper()
	for file, want := range map[string]struct {
		text string
		mode os.FileMode
	}{
		images.WorkerFile:       {"worker for arm64", 0o755},
		images.FormerWorkerFile: {formerWorker, 0o755},
		images.WorkerConfigFile: {"", 0o600},
	} {
		path := filepath.Join(dir, file)
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != want.mode {
			t.Errorf("%s: %v, %v; want mode %v", file, info, err, want.mode)
			continue
		}
		if text := roottest.ReadFile(t, path); want.text != "" && text != want.text {
			t.Errorf("%s is %.40q; want %.40q", file, text, want.text)
		}
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(roottest.ReadFile(t, dir, images.WorkerConfigFile)), &got); err != nil {
		t.Fatal(err)
	}
	want := `map[` + keys + `media_export:/media name:3333347a nfs_port:2049 queue_url:nats://10.0.0.1:4222 scratch_export:/scratch/3333347a server:10.0.0.1 token:0123456789abcdef]`
	if fmt.Sprint(got) != want {
		t.Errorf("%s is %v; want %v", images.WorkerConfigFile, got, want)
	}
}

// A root that commit b738a06 has made gets the worker of today, once, and keeps
// what its board has added.
func TestUpdateWorker(t *testing.T) {
	r := testRoots(t, t.TempDir())
	dir := formerRoot(t, r)
	config := filepath.Join(dir, images.WorkerConfigFile)
	own := strings.Replace(former, "{", `{"its_own": [1, 2],`, 1)
	if err := os.WriteFile(config, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := update(r); err != nil || !changed {
		t.Fatalf("update = %v, %v; want it changed", changed, err)
	}
	checkUpdated(t, dir, "its_own:[1 2] ")
	was, err := os.Stat(config)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := update(r); err != nil || changed {
		t.Errorf("a second update = %v, %v; want nothing changed", changed, err)
	}
	if is, err := os.Stat(config); err != nil || !os.SameFile(was, is) {
		t.Errorf("the configuration is another file after it: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, images.FormerWorkerFile)); err == nil {
		t.Error("the worker of before is still there after the next start")
	}
}

// What a board's user did to the worker's files is undone, or told.
func TestUpdateRepairs(t *testing.T) {
	for name, spoil := range map[string]func(program string) error{
		"mode":         func(program string) error { return os.Chmod(program, 0o644) },
		"set id":       func(program string) error { return os.Chmod(program, 0o755|os.ModeSetuid) },
		"shorter":      func(program string) error { return os.Truncate(program, 3) },
		"longer":       func(program string) error { return os.WriteFile(program, []byte("worker for arm64 and more"), 0o755) },
		"gone":         os.Remove,
		"link":         func(program string) error { return errors.Join(os.Remove(program), os.Symlink("/etc/passwd", program)) },
		"fifo":         func(program string) error { return errors.Join(os.Remove(program), unix.Mkfifo(program, 0o755)) },
		"no directory": func(program string) error { return os.RemoveAll(filepath.Dir(program)) },
	} {
		r := testRoots(t, t.TempDir())
		dir := formerRoot(t, r)
		if _, err := update(r); err != nil {
			t.Fatal(err)
		}
		if err := spoil(filepath.Join(dir, images.WorkerFile)); err != nil {
			t.Fatal(err)
		}
		if changed, err := update(r); err != nil || !changed {
			t.Errorf("%s: update = %v, %v", name, changed, err)
		}
		info, err := os.Lstat(filepath.Join(dir, images.WorkerFile))
		if err != nil || info.Mode() != 0o755 || roottest.ReadFile(t, dir, images.WorkerFile) != "worker for arm64" {
			t.Errorf("%s: the program is %v, %v", name, info, err)
		}
	}
}

// A pibootd without a worker for the board tells of what the former one knows,
// which would refuse the rest.
func TestUpdateWithoutProgram(t *testing.T) {
	r := testRoots(t, t.TempDir())
	dir := formerRoot(t, r)
	r.worker = func(pi.Arch) ([]byte, error) { return nil, errors.New("there is none") }
	services := servicesOf(updatedSerial)
	services.QueueURL = "tls://10.0.0.1:4222"
	changed, err := r.UpdateWorkers().Root(updatedSerial, pi.ARM64, services)
	if !changed || err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("update = %v, %v; want it changed and there is none", changed, err)
	}
	if got := formerReads(t, dir); got.QueueURL != services.QueueURL || got.Token != "0123456789abcdef" {
		t.Errorf("the former worker reads %+v", got)
	}
}

// formerReads reads the configuration as the worker of b738a06 does.
func formerReads(t *testing.T, dir string) formerConfig {
	t.Helper()
	var config formerConfig
	d := json.NewDecoder(strings.NewReader(roottest.ReadFile(t, dir, images.WorkerConfigFile)))
	d.DisallowUnknownFields()
	if err := d.Decode(&config); err != nil {
		t.Fatalf("the former worker refuses its configuration: %v", err)
	}
	return config
}

// killedRoots names the directory of roots in which a second process of this
// test updates one until it is killed.
const killedRoots = "PIBOOTD_TEST_ROOTS"

func TestKilledUpdate(t *testing.T) {
	dir := os.Getenv(killedRoots)
	if dir == "" {
		return // only a part of TestUpdateIsKilled
	}
	if _, err := update(testRoots(t, dir)); err != nil {
		t.Fatal(err)
	}
}

// However far an update has come when it is killed, the program and the
// configuration go together, and the next start completes it.
func TestUpdateIsKilled(t *testing.T) {
	for changes := 1; ; changes++ {
		var r *Roots
		var dir string
		killed := false
		for try := 0; try < 10 && !killed; try++ { // on a busy machine the update may end before it is killed
			r = testRoots(t, t.TempDir())
			dir = formerRoot(t, r)
			killed = killUpdate(t, r.Dir, dir, changes)
		}
		if roottest.ReadFile(t, dir, images.WorkerFile) == formerWorker {
			formerReads(t, dir)
		}
		var config WorkerConfig
		if err := json.Unmarshal([]byte(roottest.ReadFile(t, dir, images.WorkerConfigFile)), &config); err != nil || config.Token != "0123456789abcdef" {
			t.Errorf("killed at change %d: the configuration is %+v, %v", changes, config, err)
		}
		if _, err := update(r); err != nil {
			t.Errorf("after a kill at change %d: %v", changes, err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*/*/.*.new"))
		if more, err2 := filepath.Glob(filepath.Join(dir, "*/*/*/.*.new")); len(left)+len(more) > 0 || errors.Join(err, err2) != nil {
			t.Errorf("killed at change %d: left are %q %q", changes, left, more)
		}
		if text := roottest.ReadFile(t, dir, images.WorkerFile); text != "worker for arm64" || !strings.Contains(roottest.ReadFile(t, dir, images.WorkerConfigFile), "scratch_export") {
			t.Errorf("killed at change %d: the next start leaves %.40q", changes, text)
		}
		if !killed {
			if changes < 8 {
				t.Errorf("an update makes %d changes; want it killed between more", changes)
			}
			return
		}
	}
}

// killUpdate has another process update a root and kills it at so many changes of
// its directories. It reports whether that was before the end.
func killUpdate(t *testing.T, roots, dir string, changes int) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, watched := range []string{filepath.Dir(images.WorkerFile), filepath.Dir(images.WorkerConfigFile), "etc"} {
		const what = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(dir, watched), what); err != nil {
			t.Fatal(err)
		}
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	defer watch.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledUpdate$")
	cmd.Env = append(os.Environ(), killedRoots+"="+roots)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		_ = os.WriteFile(filepath.Join(dir, "etc/ended"), nil, 0o600) // the last event
		ended <- err
	}()
	buf := make([]byte, 1<<16)
	for seen := 0; seen < changes; {
		n, err := watch.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; seen++ {
			length := int(binary.NativeEndian.Uint32(buf[at+12:]))
			if strings.HasPrefix(string(buf[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+length]), "ended\x00") {
				seen = changes
			}
			at += unix.SizeofInotifyEvent + length
		}
	}
	_ = cmd.Process.Kill() // it may have ended
	err = <-ended
	if err == nil {
		return false
	}
	if !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the update ended with %v: %s", err, out.String())
	}
	return true
}
