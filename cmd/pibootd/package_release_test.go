//go:build release

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/operation"
	"pibootd/pkg/web"
)

// The Debian package is installed from a signed repository, upgraded, taken
// back, removed and purged, in a bare Debian that systemd runs. It starts no
// DHCP server by itself, keeps the configuration, and deletes nothing that boards have.
func TestPackage(t *testing.T) {
	repository := buildRepository(t)
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			installPackage(t, bootDebian(t, release, repository))
		})
	}
}

// The versions of the package that the tests build; version itself is that of the source.
const (
	firstPackage  = "1.0"
	secondPackage = "1.1"
)

// buildRepository makes two versions of the package, and returns the directory
// of a repository that has both.
func buildRepository(t *testing.T) string {
	t.Helper()
	home, out := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "GNUPGHOME="+home, "APT_KEY=pibootd-test", "OUT="+out)
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	runIn(t, env, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "pibootd-test")
	first := buildPackage(t, env, out, firstPackage)
	runIn(t, nil, "lintian", "--fail-on=error,warning", "--allow-root", first)
	before := readAll(first)
	if buildPackage(t, env, out, firstPackage); readAll(first) != before {
		t.Errorf("%s: built twice, and the second is not the first", first)
	}
	buildPackage(t, env, out, secondPackage)
	runIn(t, env, "scripts/apt-repo")
	return filepath.Join(out, "apt")
}

// buildPackage builds a version of the package for this machine in out, and
// returns its file.
func buildPackage(t *testing.T, env []string, out, version string) string {
	t.Helper()
	arch := map[string]string{"arm": "armhf"}[runtime.GOARCH]
	arch = cmp.Or(arch, runtime.GOARCH)
	runIn(t, append(env, "DEB_VERSION="+version), "scripts/deb", arch)
	return filepath.Join(out, "pibootd_"+version+"_"+arch+".deb")
}

// runIn runs a command in the top directory.
func runIn(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = "../..", env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// A bareDebian is a machine that systemd-nspawn boots.
type bareDebian struct {
	leader int // the process id of its systemd
}

// bootDebian boots a bare Debian whose only further source of packages is repository.
func bootDebian(t *testing.T, release, repository string) bareDebian {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	runIn(t, nil, "mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,iproute2,man-db",
		"--dpkgopt=force-unsafe-io", release, tree)
	source := "deb [signed-by=/repository/pibootd.gpg] file:/repository stable main\n"
	if err := os.WriteFile(filepath.Join(tree, "etc/apt/sources.list"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd := exec.Command("systemd-nspawn", "--quiet", "--directory="+tree, "--bind-ro="+repository+":/repository",
		"--register=no", "--keep-unit", "--private-network", "--capability=CAP_DAC_READ_SEARCH", "--system-call-filter=open_by_handle_at",
		"--console=read-only", "--boot")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := bareDebian{leader: leaderOf(t, cmd)}
	t.Cleanup(func() {
		syscall.Kill(d.leader, syscall.SIGKILL) // nspawn ends with it; killed itself, it would leave it
		cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	d.sh(t, "systemctl is-system-running --wait >/dev/null || true")
	d.sh(t, "apt-get update -qq && ip link add eth7 type veth peer eth8 && ip addr add 10.79.0.1/24 dev eth7 && ip link set eth7 up && ip link set eth8 up")
	return d
}

// leaderOf returns the first process of the machine that nspawn boots.
func leaderOf(t *testing.T, nspawn *exec.Cmd) int {
	t.Helper()
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", nspawn.Process.Pid)
	// Nothing tells of a child that another process starts.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for _, child := range strings.Fields(readAll(children)) {
			if readAll("/proc/"+child+"/comm") == "systemd\n" { // before, it is a part of nspawn, which may end
				leader, _ := strconv.Atoi(child)
				return leader
			}
		}
	}
	nspawn.Process.Kill()
	nspawn.Wait()
	t.Fatal("systemd-nspawn has not started systemd after a minute")
	return 0
}

// sh runs a script in the machine, of which every command has to succeed, and
// returns all that it says.
func (d bareDebian) sh(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(d.leader), "--all", "sh", "-ec", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// wants fails unless what a script says has all of the texts.
func (d bareDebian) wants(t *testing.T, script string, texts ...string) {
	t.Helper()
	out := d.sh(t, script)
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("%s: want %q in\n%s", script, text, out)
		}
	}
}

const packageState = `systemctl is-active pibootd || true; systemctl is-enabled pibootd || true`

// whileAsked runs a command while somebody connects to the page without a pause. None of these
// connections may be refused: systemd keeps the sockets.
const whileAsked = `rm -f /tmp/over /tmp/refused
bash -c 'n=0; until [ -e /tmp/over ]; do (exec 3<>/dev/tcp/10.79.0.1/8080) 2>>/tmp/refused; n=$((n+1)); done; echo $n connections' &
%s
touch /tmp/over; wait; cat /tmp/refused; test ! -s /tmp/refused`

func installPackage(t *testing.T, d bareDebian) {
	d.wants(t, "apt-get install -y --no-install-recommends pibootd="+firstPackage,
		"installed and not started", "pibootd config check /etc/pibootd.toml", "systemctl enable --now pibootd")
	d.wants(t, packageState, "inactive\ndisabled\n")
	d.wants(t, "dpkg --verify pibootd; stat -c %a /var/lib/pibootd; man -w pibootd; echo done", "700\n", "pibootd.8.gz", "done")

	d.sh(t, `echo 'interface = "eth7"' >>/etc/pibootd.toml; pibootd config check /etc/pibootd.toml; systemctl enable --now pibootd`)
	d.isServing(t)
	d.makesTemplate(t)
	d.wants(t, `systemctl start pibootd-backup.service; pibootd backup verify /var/backups/pibootd/pibootd-*.backup; systemctl enable --now pibootd-backup.timer; systemctl is-active pibootd-backup.timer`,
		"whole: 0 boards and 0 templates", "\nactive\n")
	for _, version := range []string{secondPackage, firstPackage} {
		before := d.sh(t, "systemctl show -P MainPID pibootd")
		d.sh(t, fmt.Sprintf(whileAsked, "apt-get install -y --no-install-recommends --allow-downgrades pibootd="+version))
		d.wants(t, "dpkg-query -W -f '${Version}' pibootd; cat /etc/pibootd.toml", version, `interface = "eth7"`)
		d.isServing(t)
		if after := d.sh(t, "systemctl show -P MainPID pibootd"); after == before {
			t.Errorf("after %s was installed, the daemon is still that of before (process %s)", version, after)
		}
	}

	d.sh(t, "apt-get remove -y pibootd; test ! -e /usr/bin/pibootd; test -e /etc/pibootd.toml; test -e /var/lib/pibootd/pibootd.db")
	d.wants(t, "systemctl is-active pibootd || true", "inactive")
	d.sh(t, "apt-get install -y --no-install-recommends pibootd && systemctl start pibootd")
	d.isServing(t)
	d.wants(t, "apt-get purge -y pibootd", "boards, roots and videos are left in /var/lib/pibootd")
	d.sh(t, "test ! -e /etc/pibootd.toml; test -e /var/lib/pibootd/pibootd.db; test ! -L /etc/systemd/system/multi-user.target.wants/pibootd.service")
}

// isServing waits until the daemon answers.
func (d bareDebian) isServing(t *testing.T) {
	t.Helper()
	d.sh(t, `for i in $(seq 300); do pibootd list-pis >/dev/null 2>&1 && exit 0; sleep 0.2; done; journalctl -o cat -n 30 -u pibootd; exit 1`)
}

// makesTemplate has the daemon import an archive of the media share, as the dashboard does. Its
// unit does that, because the daemon's own sandbox does not permit it.
func (d bareDebian) makesTemplate(t *testing.T) {
	t.Helper()
	d.sh(t, `mkdir -p /tmp/tiny/etc /tmp/tiny/sbin; echo PRETTY_NAME=Tiny >/tmp/tiny/etc/os-release; cp /bin/true /tmp/tiny/sbin/init
		tar -C /tmp/tiny -cf "/var/lib/pibootd/media/a tiny one.tar" .`)
	client := web.NewClient(fmt.Sprintf("/proc/%d/root/var/lib/pibootd/pibootd.sock", d.leader))
	op, err := client.MakeTemplate(t.Context(), web.NewTemplate{Name: "tiny", Recipe: operation.Import, Path: "a tiny one.tar", AllowMismatch: true})
	for err == nil && !op.State.Ended() && pause.For(t.Context(), 100*time.Millisecond) {
		op, err = client.Operation(t.Context(), op.ID)
	}
	if err != nil || op.Template != "tiny@1" {
		t.Fatalf("the import is %+v, %v; want tiny@1\n%s", op, err, d.sh(t, `journalctl -o cat -n 40 -u 'pibootd*'`))
	}
	d.wants(t, `journalctl -o short -u 'pibootd-template@*'`, `pibootd-template@make\x20-var-lib-pibootd-operations-1.service`)
	d.sh(t, "pibootd template remove tiny@1")
}
