package nfsd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/nfs/probe"
)

// nfsdStatistics has in its line "th" the number of threads of nfsd, 0 if it is
// stopped. The file does not exist where nfsd never ran. /proc/fs/nfsd/threads has
// the number too, but is missing in a systemd unit with a /proc of its own.
const nfsdStatistics = "/proc/net/rpc/nfsd"

// findTimeout is how long a portmapper on this machine may take.
const findTimeout = 5 * time.Second

// Available returns nil if nfsd runs on this machine and serves NFSv3 at
// addr, and else an error that says what is missing. That nfsd has threads is
// not enough: it may serve NFSv4 only, or another network namespace.
func Available(ctx context.Context, addr netip.Addr) error {
	return available(ctx, addr, nfsdStatistics)
}

func available(ctx context.Context, addr netip.Addr, statistics string) error {
	text, err := os.ReadFile(statistics)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("nfs: nfsd does not run on this machine")
	}
	if err != nil {
		return fmt.Errorf("nfs: looking for nfsd: %w", err)
	}
	if nfsdThreads(string(text)) == "0" {
		return errors.New("nfs: nfsd is stopped: it has 0 threads")
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	return within(ctx, func() error { return registered(addr) })
}

// nfsdThreads returns the number of threads of nfsd's statistics.
func nfsdThreads(statistics string) string {
	for line := range strings.Lines(statistics) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "th" {
			return f[1]
		}
	}
	return "0"
}

// registered asks the portmapper at addr for NFSv3 and its MOUNT protocol, as
// boards will.
func registered(addr netip.Addr) (err error) {
	defer probe.Recover(&err)
	p, err := rpc.DialPortmapper("tcp", addr.String())
	if err != nil {
		return fmt.Errorf("nfs: nfsd runs, but the portmapper that boards ask does not answer: %w", err)
	}
	defer p.Close()
	p.SetTimeout(findTimeout)
	for _, service := range []struct {
		name    string
		program uint32
	}{{"NFSv3", nfsclient.Nfs3Prog}, {"the MOUNT protocol of NFSv3", nfsclient.MountProg}} {
		port, err := p.Getport(rpc.Mapping{Prog: service.program, Vers: nfsclient.Nfs3Vers, Prot: rpc.IPProtoTCP})
		if err != nil {
			return fmt.Errorf("nfs: asking the portmapper at %s for %s: %w", addr, service.name, err)
		}
		if port == 0 {
			return fmt.Errorf("nfs: nfsd runs, but the portmapper at %s knows no %s over TCP", addr, service.name)
		}
	}
	return nil
}

// within runs f until ctx ends. The NFS client library knows no context, so f
// then continues in the background until its own timeouts.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
