package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"

	"pibootd/internal/fdstore"
	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/nfs"
)

// sockets are the sockets of the daemon. All are bound before any request is answered, so
// that a port in use stops the whole start.
type sockets struct {
	dhcp    *dhcp.Conn
	pxe     *dhcp.Conn // nil but in proxy mode
	tftp    *net.UDPConn
	nfs     nfs.Listeners
	http    net.Listener
	https   net.Listener // nil: none
	queue   net.Listener // nil: another server's
	rtmp    net.Listener // nil: encoders cannot send live streams
	control net.Listener
	open    []io.Closer
	named   map[string]syscall.Conn // all of them, for the next daemon
}

// add notes a socket that was bound, or taken over from the last daemon.
func (s *sockets) add(name string, socket interface {
	io.Closer
	syscall.Conn
}) {
	s.open = append(s.open, socket)
	if s.named == nil {
		s.named = map[string]syscall.Conn{}
	}
	s.named[name] = socket
}

// interfaceAddr returns the IPv4 address of the interface with its mask.
func interfaceAddr(name string) (netip.Prefix, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Prefix{}, hintedError{fmt.Errorf("interface %q: %w", name, errors.Unwrap(err)), "ip -br addr lists the interfaces"}
	}
	addrs, err := iface.Addrs()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("interface %q: %w", name, err)
	}
	for _, addr := range addrs {
		prefix, err := netip.ParsePrefix(addr.String())
		if err == nil && prefix.Addr().Is4() {
			return prefix, nil
		}
	}
	return netip.Prefix{}, hintedError{fmt.Errorf("interface %q has no IPv4 address", name), "give it a fixed one, e.g. ip addr add 192.168.77.1/24 dev " + name}
}

// listen binds every socket of the daemon to addr, unless the one of the last daemon was
// kept.
func listen(ctx context.Context, cfg config.Config, addr netip.Addr, kept *fdstore.Store, log *slog.Logger) (_ *sockets, err error) {
	s := &sockets{}
	b := binder{ctx: ctx, addr: addr, sockets: s, kept: kept}
	s.dhcp = b.dhcp(cfg.Interface, cfg.DHCP.Port)
	if cfg.DHCP.Mode == config.Proxy {
		s.pxe = b.dhcp(cfg.Interface, pxePort)
	}
	s.tftp = b.udp("tftp", cfg.TFTP.Port)
	if cfg.NFS.Driver != config.Kernel {
		s.nfs = b.nfs(cfg)
	}
	s.http = b.tcp("http", cfg.HTTP.Port)
	if s.https, err = b.optionalTCP(cfg.HTTP.TLSPort); err != nil {
		log.Warn("no HTTPS: logins are possible on this machine alone; see http.tls_port", "component", "web", "err", err)
	}
	if cfg.Queue.URL == "" {
		s.queue = b.tcp("queue", cfg.Queue.Port)
	}
	if cfg.Live.RTMPPort != 0 {
		s.rtmp = b.tcp("rtmp", cfg.Live.RTMPPort)
	}
	s.control = b.unix(cfg.SocketFile())
	if b.err != nil {
		return nil, errors.Join(b.err, s.close())
	}
	return s, nil
}

// pxePort is where boot code asks a PXE proxy once it has an address.
const pxePort = 4011

// close closes whatever is still open.
func (s *sockets) close() error {
	var errs []error
	for _, c := range s.open {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// A binder binds sockets until the first that cannot be bound.
type binder struct {
	ctx     context.Context
	addr    netip.Addr
	sockets *sockets
	kept    *fdstore.Store // nil: nothing was kept
	err     error
}

func (b *binder) dhcp(iface string, port int) *dhcp.Conn {
	if b.err != nil {
		return nil
	}
	listen := func() (*dhcp.Conn, error) { return dhcp.Listen(iface, b.addr, port) }
	if kept := b.kept.UDP(onInterface(iface, port)); kept != nil {
		listen = func() (*dhcp.Conn, error) { return dhcp.Adopt(kept, iface, b.addr) }
	}
	conn, err := listen()
	if err != nil {
		b.err = portError("dhcp", port, err)
		return nil
	}
	b.sockets.add(fmt.Sprintf("dhcp-%d", port), conn)
	return conn
}

// onInterface is a socket that receives what arrives on an interface for any address.
func onInterface(iface string, port int) fdstore.Socket {
	return fdstore.Socket{Network: "udp4", Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)).String(), Interface: iface}
}

func (b *binder) nfs(cfg config.Config) nfs.Listeners {
	l := nfs.Listeners{NFS: b.tcp("nfs", cfg.NFS.Port), MountUDP: b.packet("nfs", cfg.NFS.Port)}
	if cfg.NFS.PortmapPort != 0 {
		l.Portmap = b.tcp("portmap", cfg.NFS.PortmapPort)
		l.PortmapUDP = b.packet("portmap", cfg.NFS.PortmapPort)
	}
	return l
}

func (b *binder) tcp(service string, port int) net.Listener {
	if b.err != nil {
		return nil
	}
	addr := netip.AddrPortFrom(b.addr, uint16(port)).String()
	l := b.kept.Listener(fdstore.Socket{Network: "tcp4", Addr: addr})
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(b.ctx, "tcp4", addr); err != nil {
			b.err = portError(service, port, err)
			return nil
		}
	}
	b.sockets.add(service, l.(*net.TCPListener))
	return l
}

// optionalTCP binds a port that the daemon can do without; nil if it is 0. Earlier
// versions did not have it, so another program may.
func (b *binder) optionalTCP(port int) (net.Listener, error) {
	if b.err != nil || port == 0 {
		return nil, nil
	}
	l := b.tcp("https", port)
	err := b.err
	b.err = nil
	return l, err
}

func (b *binder) udp(service string, port int) *net.UDPConn {
	if b.err != nil {
		return nil
	}
	addr := netip.AddrPortFrom(b.addr, uint16(port))
	conn := b.kept.UDP(fdstore.Socket{Network: "udp4", Addr: addr.String()})
	if conn == nil {
		var err error
		if conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr)); err != nil {
			b.err = portError(service, port, err)
			return nil
		}
	}
	b.sockets.add(service+"-udp", conn)
	return conn
}

// packet is udp, with a nil interface where nothing was bound.
func (b *binder) packet(service string, port int) net.PacketConn {
	if conn := b.udp(service, port); conn != nil {
		return conn
	}
	return nil
}

// unix binds the control socket and removes the file that a killed daemon left.
// It connects first, because a socket outside the state directory, which has a
// lock, may be that of another running daemon.
func (b *binder) unix(path string) net.Listener {
	if b.err != nil {
		return nil
	}
	info, err := os.Lstat(path)
	exists := err == nil && info.Mode().Type() == os.ModeSocket
	if exists {
		if l := b.kept.Listener(fdstore.Socket{Network: "unix", Addr: path}); l != nil {
			b.sockets.add("control", l.(*net.UnixListener))
			return l
		}
	}
	if conn, err := new(net.Dialer).DialContext(b.ctx, "unix", path); err == nil {
		_ = conn.Close()
		b.err = fmt.Errorf("control socket %s is another daemon's", path)
		return nil
	}
	if exists {
		if err := os.Remove(path); err != nil {
			b.err = fmt.Errorf("control socket: removing an old one: %w", err)
			return nil
		}
	}
	l, err := new(net.ListenConfig).Listen(b.ctx, "unix", path)
	if err == nil {
		b.sockets.add("control", l.(*net.UnixListener))
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		b.err = fmt.Errorf("control socket: %w", err)
		return nil
	}
	return l
}

// portError names the service that cannot bind its port, and says what to do.
func portError(service string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		owner := ownerOf(port)
		todo := "stop it, or set another port in the configuration"
		if service == "portmap" {
			todo = "stop rpcbind, or do without: nfs.portmap_port = 0 in the configuration (klibc's initramfs then finds no ports)"
		}
		if owner.keeps {
			todo = "it keeps the port for pibootd's next start: systemctl stop pibootd, or end pibootd keep"
		}
		return hintedError{fmt.Errorf("%s: port %d is taken by %s", service, port, owner.name), todo}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return hintedError{fmt.Errorf("%s: port %d needs more privileges: %w", service, port, err), "run it as root"}
	default:
		return fmt.Errorf("%s: port %d: %w", service, port, err)
	}
}
