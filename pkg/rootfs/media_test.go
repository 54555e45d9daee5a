package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"pibootd/pkg/pi"
)

// A board's own keys and its token stay when the media share or the queue move.
func TestSetServices(t *testing.T) {
	const serial = pi.Serial(0x3333347a)
	r := &Roots{Dir: t.TempDir()}
	file := filepath.Join(r.Path(serial), WorkerConfigFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	const before = `{"name":"a","token":"b","media_export":"/media","nfs_port":2049,"queue_url":"nats://a","media_dir":"/mnt"}`
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		export string
		port   int
		queue  string
		want   string
	}{
		{"/media", 2049, "nats://a", before},
		{"/srv/media", 0, "tls://b", "{\n\t\"media_dir\": \"/mnt\",\n\t\"media_export\": \"/srv/media\",\n\t\"name\": \"a\",\n\t\"nfs_port\": 0,\n\t\"queue_url\": \"tls://b\",\n\t\"token\": \"b\"\n}\n"},
	} {
		if err := r.SetServices(serial, tt.export, tt.port, tt.queue); err != nil {
			t.Errorf("SetServices(%s, %d, %s) = %v", tt.export, tt.port, tt.queue, err)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != tt.want {
			t.Errorf("after SetServices(%s, %d, %s): %s, %v; want %s", tt.export, tt.port, tt.queue, got, err, tt.want)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
	}
}

// The board's root user may put anything where its configuration was.
func TestSetServicesStaysInTheRoot(t *testing.T) {
	const serial = pi.Serial(0x3333347a)
	r := &Roots{Dir: t.TempDir()}
	outside := filepath.Join(t.TempDir(), "worker.json")
	if err := os.WriteFile(outside, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.Path(serial), WorkerConfigFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, file); err != nil {
		t.Fatal(err)
	}
	if err := r.SetServices(serial, "/srv/media", 0, "nats://a"); err == nil {
		t.Error("SetServices = nil; want an error")
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "{}" {
		t.Errorf("the file outside is %q, %v; want it untouched", text, err)
	}
}
