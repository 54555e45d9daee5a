package nfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/nfs/probe"
)

const (
	portmapPort = 111
	nfsPort     = 2049
)

// Probe proves that client can use an export as a board does: it mounts it
// from client's address and looks up, reads and writes what want says. The
// address is the board's own, in a network that exists only for the probe and
// in which this server answers as serverAddr, so the real checks are made
// without touching the real network. The error says in words what client
// cannot do. No trace is left in the export, and OnMount is not called.
//
// It needs root, and takes 20 s at most, or as long as ctx allows.
func (s *Server) Probe(ctx context.Context, client, serverAddr netip.Addr, export string, want probe.File) (probe.Report, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probe.Timeout)
	defer cancel()
	lab, err := newProbeNetwork(client.Unmap(), serverAddr.Unmap())
	if err != nil {
		return probe.Report{}, fmt.Errorf("nfs: probing %s for %s: %w", export, client, err)
	}
	defer lab.close()
	report, err := lab.run(ctx, s, export, want)
	report.Took = time.Since(start)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", err, ctx.Err())
	}
	return report, err
}

// A probeNetwork is two hosts joined by a cable: the server and the board.
type probeNetwork struct {
	client, serverAddr netip.Addr
	server, board      *netlab.Namespace
	listeners          Listeners
}

func newProbeNetwork(client, serverAddr netip.Addr) (*probeNetwork, error) {
	bits, err := sharedBits(client, serverAddr)
	if err != nil {
		return nil, err
	}
	n := &probeNetwork{client: client, serverAddr: serverAddr}
	if n.server, err = netlab.New(); err != nil {
		return nil, err
	}
	if n.board, err = netlab.New(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	err = netlab.Connect(
		netlab.End{Namespace: n.server, Name: "eth0", Addr: netip.PrefixFrom(serverAddr, bits)},
		netlab.End{Namespace: n.board, Name: "eth0", Addr: netip.PrefixFrom(client, bits)})
	if err == nil && bits == client.BitLen() {
		err = errors.Join(n.server.AddRoute("eth0", netip.PrefixFrom(client, bits)), n.board.AddRoute("eth0", netip.PrefixFrom(serverAddr, bits)))
	}
	if err == nil {
		err = n.server.Do(n.listen)
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// sharedBits is the length of a prefix in which both addresses can be hosts. If there is none, it is
// that of one address, and each end needs a route to the other.
func sharedBits(a, b netip.Addr) (int, error) {
	if !a.Is4() || !b.Is4() || a == b {
		return 0, fmt.Errorf("the addresses are %s and %s; want two different IPv4 addresses", a, b)
	}
	for bits := 31; bits > 0; bits-- {
		p := netip.PrefixFrom(a, bits).Masked()
		if p.Contains(b) && (bits == 31 || isHost(p, a) && isHost(p, b)) {
			return bits, nil
		}
	}
	return a.BitLen(), nil // one of them is behind a router
}

// isHost reports whether a is neither the first address of p, which stands for
// the network, nor the last, which is broadcast.
func isHost(p netip.Prefix, a netip.Addr) bool {
	return a != p.Addr() && p.Contains(a.Next())
}

// listen opens the server's sockets. The portmapper is there because
// vmware/go-nfs-client asks it for every port.
func (n *probeNetwork) listen() error {
	var err error
	n.listeners.Portmap, err = net.Listen("tcp4", netip.AddrPortFrom(n.serverAddr, portmapPort).String())
	if err != nil {
		return err
	}
	n.listeners.NFS, err = net.Listen("tcp4", netip.AddrPortFrom(n.serverAddr, nfsPort).String())
	return err
}

// close takes the network down. Interfaces and addresses go with it.
func (n *probeNetwork) close() error {
	n.listeners.close()
	var errs []error
	for _, ns := range []*netlab.Namespace{n.server, n.board} {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	return errors.Join(errs...)
}

// run serves s in n while the board tries the export.
func (n *probeNetwork) run(ctx context.Context, s *Server, export string, want probe.File) (probe.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx, n.listeners, true) }()

	b := probe.NewBoard(n.client, n.serverAddr, export, func(err error) error { return s.reason(err, export, n.client) })
	// The library knows no context. When ctx ends, the server closes the connection, and
	// then each of its calls fails.
	err := n.board.Do(func() error { return b.Try(want) })
	cancel()
	err = errors.Join(err, <-served)
	return b.Report(), errors.Join(err, s.sweep(export, b.Trace()))
}

// reason is why client may not mount an export, or err if it may.
func (s *Server) reason(err error, export string, client netip.Addr) error {
	if _, refusal := s.exports.useRoot(export, client, 0); refusal != nil {
		return errors.New(mountRefusal(refusal))
	}
	return err
}

// sweep removes the file that an interrupted probe may have left in an export.
func (s *Server) sweep(export, trace string) error {
	for _, e := range s.Exports() {
		if e.Path == export {
			return probe.Sweep(e.Dir, trace)
		}
	}
	return nil
}
