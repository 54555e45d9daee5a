package rootfs

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/adapt"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/sshkeys"
)

// An Identity distinguishes the root of one board from those of others. Clone generates the
// machine id and the ssh host keys, because nobody needs to know them in advance.
type Identity struct {
	Hostname string
	Worker   WorkerConfig
}

// A WorkerConfig is the configuration of the worker on a board, in etc/pibootd/worker.json.
type WorkerConfig struct {
	Name  string `json:"name"`  // the board's serial number
	Token string `json:"token"` // for the login to the queue
	Services
}

// Services are the addresses of the services that a board's worker uses.
type Services struct {
	QueueURL      string     `json:"queue_url"`
	Server        netip.Addr `json:"server"`         // exports the media share
	MediaExport   string     `json:"media_export"`   // its path on Server
	NFSPort       int        `json:"nfs_port"`       // 0: ask the portmapper
	ScratchExport string     `json:"scratch_export"` // on Server; only this worker can write to it
}

// hostname matches a label of RFC 1123 §2.1.
var hostname = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

func (id Identity) check() error {
	if !hostname.MatchString(id.Hostname) {
		return fmt.Errorf("%q cannot be a host name; want up to 63 letters, digits and -, e.g. pi-kitchen", id.Hostname)
	}
	return nil
}

// identify writes the identity and the worker into the clone and returns the machine id.
func (c *clone) identify(tree string) (string, error) {
	machineID, err := newMachineID()
	if err != nil {
		return "", err
	}
	keys, err := sshkeys.NewHostKeys(c.id.Hostname)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return "", err
	}
	defer root.Close()
	return machineID, errors.Join(
		putName(root, confine.PutFile, c.id.Hostname),
		confine.PutFile(root, "etc/machine-id", []byte(machineID+"\n"), 0o444),
		sshkeys.PutHostKeys(root, keys),
		confine.PutFile(root, images.WorkerFile, c.worker, workerMode),
		putVolatileInit(root, confine.PutFile),
		putWorkerConfig(root, confine.PutFile, c.id.Worker),
		c.roots.enableWorker(root),
	)
}

// SetHostname changes the host name in a board's root.
func (r *Roots) SetHostname(serial pi.Serial, name string) error {
	if err := r.change(serial, func(root *os.Root) error { return putName(root, confine.ReplaceFile, name) }); err != nil {
		return fmt.Errorf("rootfs: naming the root of %s: %w", serial, err)
	}
	return nil
}

// PutVolatileInit writes the program that a volatile board starts first (see CommandLine of
// pkg/boot) into the board's root, because a root cloned earlier may lack it.
func (r *Roots) PutVolatileInit(serial pi.Serial) error {
	if err := r.change(serial, func(root *os.Root) error { return putVolatileInit(root, confine.ReplaceFile) }); err != nil {
		return fmt.Errorf("rootfs: preparing the root of %s for a layer of memory: %w", serial, err)
	}
	return nil
}

// change opens a board's root and lets by change its files.
func (r *Roots) change(serial pi.Serial, by func(*os.Root) error) error {
	root, done, err := r.open(r.Path(serial))
	if err != nil {
		return err
	}
	return errors.Join(by(root), done())
}

// putName writes the board's host name into a root.
func putName(root *os.Root, put confine.PutFunc, name string) error {
	return errors.Join(put(root, "etc/hostname", []byte(name+"\n"), 0o644), putHosts(root, put, name))
}

func putVolatileInit(root *os.Root, put confine.PutFunc) error {
	text, err := images.VolatileInit()
	if err != nil {
		return err
	}
	return put(root, images.VolatileInitFile, text, 0o755)
}

// newMachineID makes a machine-id(5): a random UUID without dashes.
func newMachineID() (string, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("making a machine id: %w", err)
	}
	id[6] = id[6]&0x0f | 0x40 // version 4 and variant 1, RFC 4122 §4.4
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:]), nil
}

// putHosts makes the host name resolve on the board itself, as Debian does.
func putHosts(root *os.Root, put confine.PutFunc, name string) error {
	text, err := confine.ReadText(root, "etc/hosts")
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte("127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n")
	} else if err != nil {
		return err
	}
	return put(root, "etc/hosts", []byte(hostsFor(string(text), name)), 0o644)
}

func hostsFor(hosts, name string) string {
	return adapt.WithoutOwnName(hosts) + adapt.OwnAddress + "\t" + name + "\n"
}

func putWorkerConfig(root *os.Root, put confine.PutFunc, config WorkerConfig) error {
	text, err := json.MarshalIndent(config, "", "\t")
	if err != nil {
		return err
	}
	return put(root, images.WorkerConfigFile, append(text, '\n'), workerConfigMode)
}

// enableWorker makes the worker start at boot. The inittab of a minimal root already starts it.
func (r *Roots) enableWorker(root *os.Root) error {
	switch {
	case bootcheck.UsesSystemd(root):
		if err := confine.PutFS(root, ".", images.Overlay(), "."); err != nil {
			return err
		}
		return confine.PutSymlink(root, images.WorkerUnitLink, "/"+images.WorkerUnit)
	case bootcheck.UsesOpenRC(root):
		text, err := fs.ReadFile(images.OpenRC(), images.WorkerService)
		if err != nil {
			return err
		}
		err = confine.PutFile(root, images.WorkerService, text, 0o755)
		return errors.Join(err, confine.PutSymlink(root, images.WorkerServiceLink, "/"+images.WorkerService))
	}
	if inittab, err := confine.ReadText(root, "etc/inittab"); err != nil || !strings.Contains(string(inittab), images.WorkerFile) {
		r.log().Warn("root has no systemd: start the worker by its own init", "file", "/"+images.WorkerFile)
	}
	return nil
}
