//go:build linux

// Package netlab makes small networks out of Linux network namespaces, bridges
// and veth pairs. With it an export is proved from the board's own address, a
// board is rehearsed on the bridge that pibootd serves, and tests run real
// peers without touching the machine's network. All of it needs root.
//
// Nothing it makes has a name outside its namespace: a namespace is held by a
// file descriptor, so it and everything in it is gone when the process ends,
// however it ends.
package netlab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
)

// A Namespace is a network namespace. Its methods are safe for concurrent use,
// Close excepted.
type Namespace struct {
	handle netns.NsHandle
}

// New makes an empty namespace whose loopback interface is up. The caller
// closes it.
func New() (*Namespace, error) {
	var ns *Namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netlab: making a network namespace: %w; this needs root", err)
		}
		var err error
		ns, err = Current()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := ns.Up("lo"); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// Current returns the namespace that the calling thread is in. The caller
// closes it.
func Current() (*Namespace, error) {
	handle, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("netlab: opening the current network namespace: %w", err)
	}
	return &Namespace{handle: handle}, nil
}

// Close lets go of the namespace. The kernel removes it and the interfaces in
// it as soon as no socket and no process is left inside.
func (n *Namespace) Close() error {
	if err := n.handle.Close(); err != nil {
		return fmt.Errorf("netlab: closing a network namespace: %w", err)
	}
	return nil
}

// Do runs f on a thread inside the namespace and returns its error. Sockets
// that f opens and processes that it starts stay in the namespace; goroutines
// that it starts do not.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("netlab: entering a network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on an operating system thread of its own, which ends with f:
// a thread whose namespace was changed must not serve other goroutines.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread dies with this goroutine
		done <- f()
	}()
	return <-done
}

// An End is one end of a veth pair.
type End struct {
	Namespace *Namespace
	Name      string       // at most 15 bytes
	MAC       pi.MAC       // zero: the kernel picks one
	Addr      netip.Prefix // zero: none
}

// Connect joins two namespaces by a veth pair and brings both ends up.
func Connect(a, b End) error {
	return a.Namespace.with(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = a.Name
		veth := &netlink.Veth{
			LinkAttrs:     attrs,
			PeerName:      b.Name,
			PeerNamespace: netlink.NsFd(int(b.Namespace.handle)),
		}
		if a.MAC != (pi.MAC{}) {
			veth.HardwareAddr = net.HardwareAddr(a.MAC[:])
		}
		if b.MAC != (pi.MAC{}) {
			veth.PeerHardwareAddr = net.HardwareAddr(b.MAC[:])
		}
		if err := h.LinkAdd(veth); err != nil {
			return fmt.Errorf("netlab: making the veth pair %s–%s: %w", a.Name, b.Name, err)
		}
		return errors.Join(a.bringUp(), b.bringUp())
	})
}

func (e End) bringUp() error {
	if e.Addr.IsValid() {
		if err := e.Namespace.AddAddr(e.Name, e.Addr); err != nil {
			return err
		}
	}
	return e.Namespace.Up(e.Name)
}

// Bridge makes a bridge and brings it up. addr may be zero. Its MAC address is
// its own: the kernel would give it the lowest of its ports', and another as
// ports come and go, which neighbours learn after half a minute.
func (n *Namespace) Bridge(name string, addr netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.HardwareAddr = make(net.HardwareAddr, 6)
	_, _ = rand.Read(attrs.HardwareAddr)                 // never fails
	attrs.HardwareAddr[0] = attrs.HardwareAddr[0]&^1 | 2 // of one host, locally administered
	if err := n.add(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return err
	}
	return End{Namespace: n, Name: name, Addr: addr}.bringUp()
}

// Tap makes a tap interface that a process may attach to and brings it up.
func (n *Namespace) Tap(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_ONE_QUEUE}
	if err := n.Do(func() error { return netlink.LinkAdd(tap) }); err != nil {
		return fmt.Errorf("netlab: making tap %s: %w", name, err)
	}
	return n.Up(name)
}

func (n *Namespace) add(link netlink.Link) error {
	return n.with(func(h *netlink.Handle) error {
		if err := h.LinkAdd(link); err != nil {
			return fmt.Errorf("netlab: making %s %s: %w", link.Type(), link.Attrs().Name, err)
		}
		return nil
	})
}

// Attach makes link a port of bridge.
func (n *Namespace) Attach(link, bridge string) error {
	return n.withLink(bridge, func(h *netlink.Handle, master netlink.Link) error {
		port, err := h.LinkByName(link)
		if err != nil {
			return fmt.Errorf("netlab: finding interface %s: %w", link, err)
		}
		if err := h.LinkSetMaster(port, master); err != nil {
			return fmt.Errorf("netlab: attaching %s to %s: %w", link, bridge, err)
		}
		return nil
	})
}

// IsBridge reports whether the interface called name is a bridge.
func (n *Namespace) IsBridge(name string) (bool, error) {
	var is bool
	err := n.withLink(name, func(_ *netlink.Handle, link netlink.Link) error {
		is = link.Type() == "bridge"
		return nil
	})
	return is, err
}

// AddAddr gives link an address.
func (n *Namespace) AddAddr(link string, addr netip.Prefix) error {
	return n.withLink(link, func(h *netlink.Handle, l netlink.Link) error {
		ip := &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen())}
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ip}); err != nil {
			return fmt.Errorf("netlab: adding %s to %s: %w", addr, link, err)
		}
		return nil
	})
}

// AddRoute makes the addresses of to neighbours on a link, whatever network its own address is of.
func (n *Namespace) AddRoute(link string, to netip.Prefix) error {
	err := n.withLink(link, func(h *netlink.Handle, l netlink.Link) error {
		dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
		return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK})
	})
	if err != nil {
		return fmt.Errorf("netlab: adding a route to %s by %s: %w", to, link, err)
	}
	return nil
}

// Up brings link up.
func (n *Namespace) Up(link string) error {
	return n.withLink(link, func(h *netlink.Handle, l netlink.Link) error {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("netlab: bringing %s up: %w", link, err)
		}
		return nil
	})
}

// Delete removes link. Removing what does not exist is not an error.
func (n *Namespace) Delete(link string) error {
	return n.with(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err == nil {
			err = h.LinkDel(l)
		}
		if err != nil {
			return fmt.Errorf("netlab: removing %s: %w", link, err)
		}
		return nil
	})
}

func (n *Namespace) withLink(name string, f func(*netlink.Handle, netlink.Link) error) error {
	return n.with(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("netlab: finding interface %s: %w", name, err)
		}
		return f(h, link)
	})
}

func (n *Namespace) with(f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		return fmt.Errorf("netlab: opening netlink: %w", err)
	}
	defer h.Close()
	return f(h)
}
