package rootfs

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"pibootd/images"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/roottest"
	"pibootd/pkg/rootfs/sshkeys"
)

func TestHostKeys(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{"etc/ssh/ssh_host_dsa_key": "old", "etc/ssh/sshd_config": "kept"}.Make(t, dir)
	keys, err := sshkeys.NewHostKeys("pi-one")
	if err != nil {
		t.Fatal(err)
	}
	if err := sshkeys.PutHostKeys(roottest.OpenRoot(t, dir), keys); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{"ed25519": ssh.KeyAlgoED25519, "ecdsa": ssh.KeyAlgoECDSA256} {
		path := filepath.Join(dir, "etc/ssh/ssh_host_"+kind+"_key")
		signer, err := ssh.ParsePrivateKey([]byte(roottest.ReadFile(t, path)))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(roottest.ReadFile(t, path+".pub")))
		if err != nil || public.Type() != want || comment != "root@pi-one" {
			t.Errorf("%s: public key of type %v, comment %q, %v; want %s of root@pi-one", kind, public, comment, err, want)
			continue
		}
		if !bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()) {
			t.Errorf("%s: the public key is not of the private key", kind)
		}
		for name, want := range map[string]os.FileMode{path: 0o600, path + ".pub": 0o644} {
			if info, err := os.Stat(name); err != nil || info.Mode() != want {
				t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/ssh/ssh_host_dsa_key")); err == nil {
		t.Error("a host key of the template is left")
	}
	if got := roottest.ReadFile(t, dir, "etc/ssh/sshd_config"); got != "kept" {
		t.Errorf("sshd_config = %q; want it kept", got)
	}
}

func TestHostsFor(t *testing.T) {
	for hosts, want := range map[string]string{
		"127.0.0.1\tlocalhost\n127.0.1.1 old old.lan\n::1 localhost\n": "127.0.0.1\tlocalhost\n::1 localhost\n127.0.1.1\tnew\n",
		"127.0.0.1 localhost": "127.0.0.1 localhost\n127.0.1.1\tnew\n",
		"127.0.1.10 other\n":  "127.0.1.10 other\n127.0.1.1\tnew\n",
	} {
		if got := hostsFor(hosts, "new"); got != want {
			t.Errorf("hostsFor(%q) = %q; want %q", hosts, got, want)
		}
	}
}

func TestMachineID(t *testing.T) {
	one, err := newMachineID()
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`).MatchString(one) {
		t.Errorf("newMachineID = %q, %v; want a version 4 UUID without dashes", one, err)
	}
	if two, _ := newMachineID(); two == one {
		t.Errorf("two machine ids are %q", one)
	}
}

func TestHostnames(t *testing.T) {
	for _, name := range []string{"hlspi1", "pi-kitchen", "A", "1"} {
		if err := (Identity{Hostname: name}).check(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-pi", "pi-", "pi.lan", "pi\n", "a b", "../x"} {
		if err := (Identity{Hostname: name}).check(); err == nil {
			t.Errorf("host name %q = nil; want an error", name)
		}
	}
}

// The worker reads these keys.
func TestWorkerConfig(t *testing.T) {
	dir := t.TempDir()
	config := WorkerConfig{
		Name: "3333347a", Token: "secret", Services: Services{
			QueueURL: "nats://10.0.0.1:4222", Server: netip.MustParseAddr("10.0.0.1"),
			MediaExport: "/media", NFSPort: 2049, ScratchExport: "/scratch/3333347a",
		},
	}
	if err := putWorkerConfig(roottest.OpenRoot(t, dir), confine.PutFile, config); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, images.WorkerConfigFile)
	var got map[string]any
	if err := json.Unmarshal([]byte(roottest.ReadFile(t, path)), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name": "3333347a", "token": "secret", "queue_url": "nats://10.0.0.1:4222",
		"server": "10.0.0.1", "media_export": "/media", "nfs_port": 2049.0, "scratch_export": "/scratch/3333347a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("worker.json (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("worker.json has mode %v, %v; want 600", info.Mode(), err)
	}
}

func TestEnableWorker(t *testing.T) {
	dir := t.TempDir()
	roottest.Small().Make(t, dir)
	if err := new(Roots).enableWorker(roottest.OpenRoot(t, dir)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "etc/systemd/system/multi-user.target.wants/pibootd-worker.service")
	if target, err := os.Readlink(link); err != nil || target != "/etc/systemd/system/pibootd-worker.service" {
		t.Errorf("link of the unit = %q, %v", target, err)
	}
	if unit := roottest.ReadFile(t, dir, "etc/systemd/system/pibootd-worker.service"); !bytes.Contains([]byte(unit), []byte("ExecStart=/"+images.WorkerFile+"\n")) {
		t.Errorf("unit does not start %s:\n%s", images.WorkerFile, unit)
	}
	minimal := t.TempDir()
	roottest.Spec{"etc/inittab": "::respawn:/" + images.WorkerFile}.Make(t, minimal)
	if err := new(Roots).enableWorker(roottest.OpenRoot(t, minimal)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(minimal, "etc/systemd")); err == nil {
		t.Error("a root without systemd got a unit")
	}
}
