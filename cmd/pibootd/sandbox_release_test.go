//go:build release

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/fleet"
)

// In the sandbox of its units pibootd does all that it does, on a Debian with
// systemd: with its own NFS server, and with nfsd. State and media are where
// users have them.
func TestSandbox(t *testing.T) {
	n := &sandboxedNAS{startGuest(t, sandboxGuest(t)...)}
	n.isServing(t)
	n.isConfined(t)
	n.imports(t)
	n.useDriver(t, "embedded")
	n.serves(t, sandboxBoard{
		mac: "b8:27:eb:33:34:7a", serial: "3333347a", ip: "10.79.0.11",
		root: "/roots/3333347a", provedFrom: "10.79.0.11",
	})
	n.useDriver(t, "kernel")
	n.serves(t, sandboxBoard{
		mac: "b8:27:eb:33:34:7b", serial: "3333347b", ip: "10.79.0.12",
		root: sandboxState + "/roots/3333347b", provedFrom: "10.79.0.1", stays: true,
	})
}

const (
	sandboxState = "/srv/state"
	sandboxMedia = "/home/ada/media"
)

// A sandboxBoard is a board whose root is an overlay.
type sandboxBoard struct {
	mac, serial, ip string
	root            string // the export of its root
	provedFrom      string // the address that the proof of that was made from
	stays           bool   // its root stays mounted when pibootd stops, as nfsd serves on
}

type sandboxedNAS struct{ *nas }

// do runs a script, of which every command has to succeed.
func (n *sandboxedNAS) do(t *testing.T, script string, args ...any) string {
	t.Helper()
	script = fmt.Sprintf(script, args...)
	out := n.sh(t, "export PIBOOTD_STATE_DIR="+sandboxState+"\nset -e\n"+script+"\necho all done")
	said, done := strings.CutSuffix(out, "all done\n")
	if !done {
		t.Fatalf("%s\n%s%s", script, out, n.sh(t, "journalctl -b -o cat -n 40 -u 'pibootd*'"))
	}
	return said
}

// isConfined tells whether the daemon has the sandbox that systemd was asked for.
func (n *sandboxedNAS) isConfined(t *testing.T) {
	t.Helper()
	n.do(t, `test "$(systemctl show -P NRestarts pibootd)" = 0`)
	out := n.do(t, `pid=$(systemctl show -P MainPID pibootd)
		grep -h -e ^NoNewPrivs -e ^Seccomp: /proc/$pid/status
		for dir in /usr /etc /boot /proc/sys; do nsenter -t $pid -m sh -c "test -w $dir || echo $dir is read-only"; done
		for dir in %s %s; do nsenter -t $pid -m sh -c "test -w $dir && echo $dir is writable"; done
		systemd-analyze security --threshold=45 pibootd >/dev/null && echo exposure is low`, sandboxState, sandboxMedia)
	want := "NoNewPrivs:\t1\nSeccomp:\t2\n/usr is read-only\n/etc is read-only\n/boot is read-only\n/proc/sys is read-only\n" +
		sandboxState + " is writable\n" + sandboxMedia + " is writable\nexposure is low\n"
	if out != want {
		t.Errorf("the daemon's sandbox:\n%swant\n%s", out, want)
	}
}

// imports imports a disk image, whose name has a blank in it.
func (n *sandboxedNAS) imports(t *testing.T) {
	t.Helper()
	const command = `import muxer "/home/ada/my pi.img" --allow-mismatch --state-dir ` + sandboxState
	out := n.do(t, `systemctl start "pibootd-template@$(systemd-escape '%s')"
		pibootd template list
		losetup --list`, command)
	if !strings.Contains(out, "muxer@1 ") || strings.Contains(out, "/dev/loop") {
		t.Errorf("after the import:\n%swant the template muxer@1, and no loop device", out)
	}
	out = n.sh(t, `systemctl start "pibootd-template@$(systemd-escape 'import muxer /nosuch.img')" || journalctl -o cat -u 'pibootd-template@*'`)
	if !strings.Contains(out, "/nosuch.img") || !strings.Contains(out, "no such file") {
		t.Errorf("an import of nothing:\n%swant it to fail, and the reason in the journal", out)
	}
}

// useDriver has the daemon start with or without nfsd.
func (n *sandboxedNAS) useDriver(t *testing.T, driver string) {
	t.Helper()
	state := map[string]string{"embedded": "stop", "kernel": "start"}[driver]
	n.do(t, `systemctl stop pibootd
		systemctl %s nfs-server rpcbind.socket rpcbind.service nfs-mountd
		systemctl start pibootd`, state)
	n.isServing(t)
	if log := n.do(t, `journalctl -o cat _PID=$(systemctl show -P MainPID pibootd)`); !strings.Contains(log, "driver="+driver) {
		t.Errorf("pibootd serves with another driver than %s:\n%s", driver, log)
	}
}

func (n *sandboxedNAS) isServing(t *testing.T) {
	t.Helper()
	n.do(t, `until pibootd list-pis >/dev/null 2>&1; do systemctl is-active -q pibootd; sleep 0.2; done`)
}

// serves has a board with an overlay root do all that one does.
func (n *sandboxedNAS) serves(t *testing.T, board sandboxBoard) {
	t.Helper()
	var added fleet.Added
	out := n.do(t, `pibootd add-pi --json --mac %s --serial %s --ip %s --template muxer --clone overlay`, board.mac, board.serial, board.ip)
	if err := json.Unmarshal([]byte(out), &added); err != nil {
		t.Fatalf("add-pi: %v\n%s", err, out)
	}
	if proof := board.root + " mounted by " + board.provedFrom + ", "; len(added.Proof) == 0 || !strings.HasPrefix(added.Proof[0], proof) {
		t.Errorf("proof of the exports: %q; want the first to begin with %q", added.Proof, proof)
	}
	n.do(t, `pibootd rehearse %s --model 3B`, board.serial)
	n.worksOn(t, board)
	n.do(t, `pibootd reset-pi %s --force
		findmnt -n -o FSTYPE %s/roots/%[1]s | grep -x overlay
		test ! -e %[2]s/roots/%[1]s/root/before
		systemctl stop pibootd
		test $(grep -c ' %[2]s/roots/%[1]s ' /proc/self/mountinfo) = %[3]d
		systemctl start pibootd`, board.serial, sandboxState, map[bool]int{true: 1}[board.stays])
	n.isServing(t)
}

// worksOn mounts the board's root as the board does, and works on it while the
// daemon is killed. What it makes is there for all of the machine to see.
func (n *sandboxedNAS) worksOn(t *testing.T, board sandboxBoard) {
	t.Helper()
	defer n.do(t, `umount -f -l /mnt/board 2>/dev/null || true
		ip netns del board`)
	n.do(t, `ip netns add board
		ip link add port type veth peer name eth0 netns board
		ip link set port master br0 up
		ip -n board addr add %s/24 dev eth0
		ip -n board link set eth0 up
		nsenter --net=/run/netns/board mount -t nfs -o vers=3,tcp,nolock,hard,noac 10.79.0.1:%s /mnt/board
		cd /mnt/board/root
		echo text >before
		cp /bin/true suid
		chown 1000:1000 suid
		chmod 6755 suid
		mknod disk b 254 0
		mknod mem c 1 1
		mknod pipe p`, board.ip, board.root)
	out := n.do(t, `cd %s/roots/%s/root
		stat -c '%%n %%F %%a %%u %%t:%%T' before suid disk mem pipe`, sandboxState, board.serial)
	const want = "before regular file 644 0 0:0\nsuid regular file 6755 1000 0:0\ndisk block special file 644 0 fe:0\nmem character special file 644 0 1:1\npipe fifo 644 0 0:0\n"
	if out != want {
		t.Errorf("what the board made, as the machine sees it:\n%swant\n%s", out, want)
	}
	n.do(t, `old=$(systemctl show -P MainPID pibootd)
		kill -9 $old
		until new=$(systemctl show -P MainPID pibootd); test $new != 0 -a $new != $old; do sleep 0.2; done
		grep -x text /mnt/board/root/before
		echo more >>/mnt/board/root/before
		test -u /mnt/board/root/suid`)
	n.isServing(t)
	n.do(t, `grep -x more %s/roots/%s/root/before`, sandboxState, board.serial)
}

// sandboxGuest makes a Debian with systemd, nfsd and what make install installs,
// and returns QEMU's arguments for it.
func sandboxGuest(t *testing.T) []string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	bootstrapGuest(t, tree)
	tool(t, "make", "-C", "../..", "install", "DESTDIR="+tree)
	for file, text := range map[string]string{
		"etc/pibootd.toml":                     "interface = \"br0\"\nstate_dir = \"" + sandboxState + "\"\n[media]\ndir = \"" + sandboxMedia + "\"\n",
		"etc/fstab":                            "/dev/vda / ext4 defaults 0 1\n",
		"etc/systemd/system/lan.service":       lanUnit,
		"etc/systemd/system/shell.socket":      "[Socket]\nListenStream=7000\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
		"etc/systemd/system/shell@.service":    "[Service]\nStandardInput=socket\nExecStart=/bin/sh\n",
		"etc/systemd/system/ready.service":     "[Unit]\nAfter=pibootd.service shell.socket\n[Service]\nType=oneshot\nStandardOutput=file:/dev/ttyS0\nExecStart=/bin/echo nas: ready\n[Install]\nWantedBy=multi-user.target\n",
		"etc/exports":                          "",
		"etc/systemd/journald.conf.d/run.conf": "[Journal]\nStorage=volatile\n",
		"mnt/board/empty":                      "", "home/ada/empty": "",
	} {
		putText(t, filepath.Join(tree, file), text)
	}
	tool(t, "cp", "--sparse=always", sandboxImage(t), filepath.Join(tree, "home/ada/my pi.img"))
	tool(t, "systemctl", "--root="+tree, "-q", "disable", "nfs-server", "rpcbind.socket", "rpcbind.service")
	tool(t, "systemctl", "--root="+tree, "-q", "enable", "lan.service", "shell.socket", "ready.service", "pibootd.service")
	disk := filepath.Join(t.TempDir(), "disk")
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, disk, "4G")
	kernel, initramfs := theFile(t, tree, "boot/vmlinuz-*"), theFile(t, tree, "boot/initrd.img-*")
	return []string{"-m", "1536", "-kernel", kernel, "-initrd", initramfs, "-drive", "if=virtio,format=raw,file=" + disk,
		"-append", "console=ttyS0 quiet panic=-1 root=/dev/vda rw net.ifnames=0 systemd.show_status=no"}
}

// lanUnit gives the guest its address, on a bridge, so that virtual boards can
// be plugged in.
const lanUnit = `[Unit]
Before=network-online.target pibootd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ip link add br0 type bridge
ExecStart=/bin/ip link set eth0 master br0 up
ExecStart=/bin/ip addr add 10.79.0.1/24 dev br0
ExecStart=/bin/ip link set br0 up
[Install]
WantedBy=network-online.target multi-user.target
`

// bootstrapGuest installs a Debian. Its packages are kept where
// PIBOOTD_APT_CACHE says.
func bootstrapGuest(t *testing.T, tree string) {
	t.Helper()
	args := []string{
		"--quiet", "--variant=minbase", "--skip=download/empty,cleanup/apt/cache",
		"--include=systemd-sysv,udev,linux-image-cloud-amd64,initramfs-tools,nfs-kernel-server,iproute2,kmod",
	}
	if kept := os.Getenv("PIBOOTD_APT_CACHE"); kept != "" {
		cache := filepath.Join(kept, "guest")
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args,
			`--setup-hook=mkdir -p "$1/var/cache/apt/archives" && find `+cache+` -name '*.deb' -exec cp -t "$1/var/cache/apt/archives" {} +`,
			`--customize-hook=cp -n "$1"/var/cache/apt/archives/*.deb `+cache)
	}
	tool(t, "mmdebstrap", append(args, `--customize-hook=rm -f "$1"/var/cache/apt/archives/*.deb`, cmp.Or(os.Getenv("PIBOOTD_TEST_RELEASE"), "bookworm"), tree)...)
}

// sandboxImage makes a disk image of a small root, as an SD card has it.
func sandboxImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"root/etc/os-release": "PRETTY_NAME=Tiny\n", "root/root/empty": "", "root/boot/firmware/.mount": "",
		"boot/bootcode.bin": "bootcode", "boot/start.elf": "start", "boot/fixup.dat": "fixup", "boot/config.txt": "arm_64bit=1\nkernel=kernel8.img\n",
		"boot/kernel8.img": "kernel", "boot/bcm2710-rpi-3-b.dtb": "tree",
	} {
		putText(t, filepath.Join(dir, file), text)
	}
	tool(t, "sh", "-e", "-c", `cd "$0"
		mkdir -p root/bin root/sbin
		gzip -dc "$1" | tee root/bin/sh >root/sbin/init
		chmod 755 root/bin/sh root/sbin/init
		mke2fs -q -t ext4 -d root ext 32M
		truncate -s 8M fat
		mkfs.vfat -n BOOTFS fat
		(cd boot && mcopy -i ../fat -s -m -Q ./* ::)
		truncate -s 44M image
		printf 'label: dos\nstart=1MiB, size=8MiB, type=c\nstart=10MiB, size=32MiB, type=83\n' | sfdisk -q image
		dd if=fat of=image bs=1M seek=1 conv=notrunc status=none
		dd if=ext of=image bs=1M seek=10 conv=notrunc status=none`, dir, absolute(t, "../../images/worker/pibootd-worker-arm64.gz"))
	return filepath.Join(dir, "image")
}

func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func theFile(t *testing.T, tree, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(tree, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in the guest: %q, %v; want one", pattern, found, err)
	}
	return found[0]
}
