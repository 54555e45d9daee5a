package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pibootd/pkg/config"
	"pibootd/pkg/doctor"
	"pibootd/pkg/store"
)

// Examine looks for what would keep a daemon with this configuration from
// starting. It changes nothing.
func Examine(ctx context.Context, cfg config.Config) []doctor.Finding {
	return append(tryNetwork(ctx, cfg), tryState(ctx, cfg)...)
}

// tryNetwork reads the interface and binds the ports as Run does, and closes them
// again.
func tryNetwork(ctx context.Context, cfg config.Config) []doctor.Finding {
	network, err := interfaceAddr(cfg.Interface)
	if err != nil {
		return []doctor.Finding{doctor.Failing("network", err)}
	}
	found := []doctor.Finding{{Subject: "network", Level: doctor.OK, Text: fmt.Sprintf("interface %s has %s", cfg.Interface, network)}}
	if err := cfg.CheckDHCP(network, boardAddresses(cfg, network)); err != nil {
		found = append(found, doctor.Failing("configuration", err))
	}
	if cfg.NFS.Driver, err = chooseDriver(ctx, cfg, network.Addr(), slog.New(slog.DiscardHandler)); err != nil {
		return append(found, doctor.Failing("nfs", err))
	}
	return append(found, tryPorts(ctx, cfg, network.Addr())...)
}

// tryPorts binds each port on its own, so that every port in use is reported.
func tryPorts(ctx context.Context, cfg config.Config, addr netip.Addr) []doctor.Finding {
	var found []doctor.Finding
	for _, p := range portsOf(cfg) {
		b := binder{ctx: ctx, addr: addr, sockets: &sockets{}}
		p.bind(&b, p.number)
		if err := errors.Join(b.err, b.sockets.close()); err != nil && !ownerOf(p.number).keeps {
			found = append(found, doctor.Failing("ports", err))
		}
	}
	if len(found) == 0 {
		found = []doctor.Finding{{Subject: "ports", Level: doctor.OK, Text: "all that serve needs are free, or kept for it: " + portsText(cfg)}}
	}
	return found
}

// A port is one that the daemon binds.
type port struct {
	service string
	number  int
	bind    func(b *binder, number int)
}

// portsOf returns the ports that listen binds.
func portsOf(cfg config.Config) []port {
	dhcp := func(b *binder, number int) { b.dhcp(cfg.Interface, number) }
	both := func(service string) func(*binder, int) {
		return func(b *binder, number int) { b.tcp(service, number); b.udp(service, number) }
	}
	tcp := func(service string) func(*binder, int) {
		return func(b *binder, number int) { b.tcp(service, number) }
	}
	ports := []port{{"dhcp", cfg.DHCP.Port, dhcp}}
	if cfg.DHCP.Mode == config.Proxy {
		ports = append(ports, port{"pxe", pxePort, dhcp})
	}
	ports = append(ports, port{"tftp", cfg.TFTP.Port, func(b *binder, number int) { b.udp("tftp", number) }})
	if cfg.NFS.Driver != config.Kernel {
		ports = append(ports, port{"nfs", cfg.NFS.Port, both("nfs")}, port{"portmap", cfg.NFS.PortmapPort, both("portmap")})
	}
	if cfg.Queue.URL == "" {
		ports = append(ports, port{"queue", cfg.Queue.Port, tcp("queue")})
	}
	ports = append(ports, port{"http", cfg.HTTP.Port, tcp("http")}, port{"https", cfg.HTTP.TLSPort, tcp("https")}, port{"rtmp", cfg.Live.RTMPPort, tcp("rtmp")})
	return slices.DeleteFunc(ports, func(p port) bool { return p.number == 0 }) // no portmapper, no TLS, or no encoders
}

// portsText lists the ports for people.
func portsText(cfg config.Config) string {
	var out []string
	for _, p := range portsOf(cfg) {
		out = append(out, fmt.Sprintf("%s %d", p.service, p.number))
	}
	return strings.Join(out, ", ")
}

// tryState checks the files that a daemon left in the state directory. It changes
// none of them.
func tryState(ctx context.Context, cfg config.Config) []doctor.Finding {
	if _, err := os.Stat(cfg.StateDir); errors.Is(err, fs.ErrNotExist) {
		return []doctor.Finding{{Subject: "state", Level: doctor.OK, Text: cfg.StateDir + " is not there yet: the first start makes it"}}
	}
	found := doctor.Disks(cfg.StateDir, cfg.MediaDir())
	if err := tryFiles(ctx, cfg); err != nil {
		return append(found, doctor.Failing("state", err))
	}
	return append(found, doctor.Finding{Subject: "state", Level: doctor.OK, Text: "no daemon holds it, and its key and database are sound"})
}

// tryFiles reads the key and the database if they exist; the daemon makes those
// that do not.
func tryFiles(ctx context.Context, cfg config.Config) error {
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(cfg.StateDir, name))
		return err == nil
	}
	if exists("lock") {
		lock, err := lockState(cfg.StateDir)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	if key := filepath.Join("keys", "nfs"); exists(key) {
		if _, err := loadKey(filepath.Join(cfg.StateDir, key)); err != nil {
			return err
		}
	}
	if exists(Database) {
		return store.Check(ctx, filepath.Join(cfg.StateDir, Database))
	}
	return nil
}
