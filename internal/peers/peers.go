//go:build linux

// Package peers runs the servers that benchmarks measure beside ours: those of a root file system
// that scripts/peers has made, or of this machine where there is none. It is for tests alone.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// rootVariable is where the root file system is; unset or empty: the servers are this machine's.
const rootVariable = "PIBOOTD_PEERS"

// enter runs a program in the root $0, with this machine's directory for temporary files $1. It
// replaces itself, so that the process is the program's.
const enter = `
mount --make-rprivate / && mount --bind "$0" "$0" && mkdir -p "$0$1" && mount --rbind "$1" "$0$1" && mount -t proc none "$0/proc" || exit 1
root=$0; shift; exec chroot "$root" "$@"`

// Command returns the command that runs a server. It sees the test's temporary files.
func Command(name string, args ...string) *exec.Cmd {
	root := os.Getenv(rootVariable)
	if root == "" {
		return exec.Command(name, args...)
	}
	cmd := exec.Command("sh", append([]string{"-c", enter, root, os.TempDir(), name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	return cmd
}

// ganeshaConf takes an option of ganesha 6 and the exported directory.
const ganeshaConf = `
NFS_CORE_PARAM { Protocols = 3; NFS_Port = 2049; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = false; %s }
NFSv4 { RecoveryRoot = /run/recovery; }
EXPORT {
	Export_Id = 1; Path = %s; Pseudo = /x; Access_Type = RW; Squash = No_root_squash;
	SecType = sys; Protocols = 3; Transports = TCP;
	FSAL { Name = VFS; }
}
LOG { Default_Log_Level = EVENT; }
`

// ganeshaScript runs rpcbind, without which ganesha does not start, and
// ganesha, both with a /run of their own. As the first process of its process
// namespace it takes them with it when its standard input ends.
const ganeshaScript = `
mount --make-rprivate / && mount -t tmpfs none /run && mount -t tmpfs none /var/lib/nfs && mount -t proc none /proc
mkdir -p /run/rpcbind /run/dbus /run/recovery /var/lib/nfs/ganesha
rpcbind -f &
for _ in $(seq 100); do rpcinfo -p >/dev/null 2>&1 && break; sleep 0.1; done
ganesha.nfsd -F -f "$1" -L "$2" -p /run/ganesha.pid &
read -r _
`

// GaneshaMount is the port of ganesha's MOUNT.
const GaneshaMount = 20048

// Ganesha returns a command whose child ganesha.nfsd exports dir by NFSv3 until its standard input
// ends. conf and log are files that are written.
func Ganesha(dir, conf, log string) (*exec.Cmd, error) {
	option := ""
	if os.Getenv(rootVariable) != "" { // where the capability for PR_SET_IO_FLUSHER is missing, it does not start else
		option = "allow_set_io_flusher_fail = true;"
	}
	if err := os.WriteFile(conf, fmt.Appendf(nil, ganeshaConf, option, dir), 0o600); err != nil {
		return nil, err
	}
	cmd := Command("sh", "-c", ganeshaScript, "sh", conf, log)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	return cmd, nil
}

// Dnsmasq returns a command that runs dnsmasq in the foreground, with these options alone.
func Dnsmasq(options ...string) *exec.Cmd {
	return Command("dnsmasq", append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--bind-interfaces"}, options...)...)
}
