package nfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/nfs/rpc"
)

// Listeners are the sockets of one Serve. NFS is needed, the others may be nil.
type Listeners struct {
	NFS        net.Listener   // NFS and MOUNT over TCP
	Portmap    net.Listener   // port 111, for clients that ask for ports
	MountUDP   net.PacketConn // MOUNT over UDP: some initramfs know nothing else
	PortmapUDP net.PacketConn
}

func (l Listeners) close() {
	for _, c := range []io.Closer{l.NFS, l.Portmap, l.MountUDP, l.PortmapUDP} {
		if c != nil {
			_ = c.Close() // a second Close fails; nothing is lost by it
		}
	}
}

// Serve answers on l until ctx ends; then it closes the connections, waits for
// the calls that run and returns nil. It returns an error only if a socket
// itself fails. It closes the sockets of l in either case. The portmapper
// names the ports of l, and several Serves may run at once.
func (s *Server) Serve(ctx context.Context, l Listeners) error {
	return s.serve(ctx, l, false)
}

// serve is Serve; quiet leaves mounts out of the table and out of OnMount.
func (s *Server) serve(ctx context.Context, l Listeners, quiet bool) error {
	defer l.close()
	if err := s.ready(); err != nil {
		return err
	}
	if l.NFS == nil {
		return errors.New("nfs: no NFS listener; want one")
	}
	v := &service{server: s, ports: portsOf(l), quiet: quiet}
	nfs, mount, portmap := v.bind(nfsProgram()), v.bind(mountProgram()), v.bind(portmapProgram())
	server := s.rpc()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, l.close)()
	g.Go(func() error { return server.ServeTCP(ctx, l.NFS, nfs, mount) })
	if l.Portmap != nil {
		g.Go(func() error { return server.ServeTCP(ctx, l.Portmap, portmap) })
	}
	if l.MountUDP != nil {
		g.Go(func() error { return server.ServeUDP(ctx, l.MountUDP, mount) })
	}
	if l.PortmapUDP != nil {
		g.Go(func() error { return server.ServeUDP(ctx, l.PortmapUDP, portmap) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("nfs: %w", err)
	}
	return nil
}

// A service is one running Serve.
type service struct {
	server *Server
	ports  []mapping
	quiet  bool
}

// maxClientConns is how many connections a board can use: the 16 of nconnect, which all its mounts
// share, and beside them those of MOUNT and the portmapper, some of which still close.
const maxClientConns = 32

// rpc returns the connections of a Serve, bounded as s says.
func (s *Server) rpc() *rpc.Server {
	return &rpc.Server{
		Log: s.Log, Known: s.exports.knows, Memory: s.memory,
		MaxConns: or(s.MaxConns, 1024), MaxClientConns: or(s.MaxClientConns, maxClientConns), MaxClientCalls: or(s.MaxClientCalls, 16),
	}
}
