package nfsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/probe"
	onrpc "pibootd/pkg/nfs/rpc"
)

// Probe proves what can be proved of an export that nfsd serves, without
// touching the network: that mountd tells of it as open to client, and that
// it can be mounted and used as want says. The latter is done from serverAddr,
// this machine's own, to which the export is open meanwhile: a mount from
// client's address would have to come from outside. The report's From says so.
// No trace is left in the export unless nfsd stops answering. It takes 20 s at
// most, or as long as ctx allows; the export does not change meanwhile.
func (s *Server) Probe(ctx context.Context, client, serverAddr netip.Addr, export string, want probe.File) (probe.Report, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probe.Timeout)
	defer cancel()
	end, err := s.turns.Begin(ctx, export)
	if err != nil {
		return probe.Report{}, fmt.Errorf("waiting for another change of the export %s to end: %w", export, err)
	}
	defer end()
	e, ok := s.current()[export]
	if !ok || !slices.Contains(e.Clients, client) {
		return probe.Report{}, fmt.Errorf("%s may not mount %s: it is not exported to that address", client, export)
	}
	if err := within(ctx, func() error { return listed(serverAddr, export, client) }); err != nil {
		return probe.Report{}, err
	}
	report, err := s.try(ctx, e, serverAddr, want)
	report.Took = time.Since(start)
	return report, err
}

// try mounts e from serverAddr.
func (s *Server) try(ctx context.Context, e nfs.Export, serverAddr netip.Addr, want probe.File) (probe.Report, error) {
	open := e
	if !slices.Contains(e.Clients, serverAddr) {
		open.Clients = append(slices.Clone(e.Clients), serverAddr)
	}
	if err := s.export(open); err != nil {
		return probe.Report{}, err
	}
	b := probe.NewBoard(serverAddr, serverAddr, e.Path, func(err error) error { return err })
	tried := make(chan error, 1)
	go func() { tried <- b.Try(want) }()
	select {
	case err := <-tried:
		return b.Report(), errors.Join(err, s.export(e), probe.Sweep(e.Dir, b.Trace()))
	case <-ctx.Done():
		// The library knows no context: b continues until its own timeouts.
		err := fmt.Errorf("%s cannot use %s: nfsd does not answer: %w", serverAddr, e.Path, ctx.Err())
		return probe.Report{}, errors.Join(err, s.export(e))
	}
}

// maxListed bounds mountd's list of exports, in bytes.
const maxListed = 1 << 20

// listed asks mountd at serverAddr for its list of exports (RFC 1813 §5.2.5)
// and returns nil if export is in it for client.
func listed(serverAddr netip.Addr, export string, client netip.Addr) (err error) {
	defer probe.Recover(&err)
	m, err := nfsclient.DialMount(serverAddr.String())
	if err != nil {
		return fmt.Errorf("%s cannot reach nfsd's mountd: %w", client, err)
	}
	defer m.Close()
	m.SetTimeout(probe.Timeout)
	res, err := m.Call(&rpc.Header{
		Rpcvers: onrpc.Version, Prog: nfsclient.MountProg, Vers: nfsclient.Nfs3Vers, Proc: nfsclient.MountProc3Export,
		Cred: rpc.AuthNull, Verf: rpc.AuthNull,
	})
	if err != nil {
		return fmt.Errorf("asking mountd for its exports: %w", err)
	}
	list, err := io.ReadAll(io.LimitReader(res, maxListed))
	if err != nil {
		return fmt.Errorf("asking mountd for its exports: %w", err)
	}
	if !inExports(list, export, client.String()) {
		return fmt.Errorf("%s may not mount %s: mountd does not list it for that address", client, export)
	}
	return nil
}

// inExports reports whether an export list, as mountd sends it, has export for
// client.
func inExports(list []byte, export, client string) bool {
	d := onrpc.Decoder{Buf: list}
	for d.Bool() {
		dir := string(d.Opaque(maxListed))
		for d.Bool() {
			if group := string(d.Opaque(maxListed)); dir == export && group == client {
				return true
			}
		}
	}
	return false
}
