// Package daemon is the running pibootd: it opens the state directory, binds the
// sockets, joins the servers and runs them until its context ends.
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pibootd/internal/fdstore"
	"pibootd/internal/pause"
	"pibootd/pkg/boardlog"
	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/operation"
	"pibootd/pkg/tftp"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/tidy"
	"pibootd/pkg/transcode/trash"
	"pibootd/pkg/transcode/watchfolder"
	"pibootd/pkg/transcode/webhook"
	"pibootd/pkg/web"
)

// Options are what a daemon is started with.
type Options struct {
	Config  config.Config
	Version string // of this program, as the API reports it
	Log     *slog.Logger
	// Kept is what a service manager has kept of the last daemon, and keeps of this one;
	// nil: nothing is kept.
	Kept *fdstore.Store
	// Terminal is where a person reads what the first start has to say; nil: nobody
	// does.
	Terminal io.Writer
	// Pace is how many times faster than real ones boards are, for tests of what is said of those
	// that are late; 0: 1.
	Pace int
}

// Run runs the daemon until ctx ends. It needs root, because it binds ports
// below 1024 and keeps the owners of boards' files.
func Run(ctx context.Context, o Options) (err error) {
	cfg, log := o.Config, o.Log
	network, err := interfaceAddr(cfg.Interface)
	if err != nil {
		return err
	}
	if err := cfg.CheckDHCP(network, boardAddresses(cfg, network)); err != nil {
		return err
	}
	state, err := openState(ctx, cfg, o.Kept)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	if file := state.store.Copied(); file != "" {
		log.Warn("the database is of an earlier version and is migrated; this copy is the way back", "component", "store", "file", file)
	}
	if state.full {
		log.Error("the disk of the state directory is full: boards boot and run, but nothing new is noted, made or transcoded until there is room again",
			"component", "store", "state", cfg.StateDir)
	}
	if cfg.NFS.Driver, err = chooseDriver(ctx, cfg, network.Addr(), log); err != nil {
		return err
	}
	socks, err := listen(ctx, cfg, network.Addr(), o.Kept, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socks.close()) }()
	d := &daemon{cfg: cfg, network: network, version: o.Version, pace: o.Pace, state: state, socks: socks, log: log}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		if state.full {
			err = fullError(cfg.StateDir, err)
		}
		return err
	}
	d.listenForLogs(ctx, o.Kept)
	if err := d.fleet.Start(); err != nil {
		return err
	}
	if err := d.welcome(ctx, o.Terminal); err != nil {
		log.Warn("cannot say how to make the admin password; pibootd admin-link does", "component", "web", "err", err)
	}
	d.keepSockets(o.Kept)
	d.logStart()
	err = d.run(ctx)
	if d.nfs != nil { // nfsd continues to serve the roots
		err = errors.Join(err, d.fleet.Stop())
	}
	log.Info("stopped")
	return err
}

// A daemon is the servers and how they are joined. Its fields are set from top
// to bottom: each needs only those above it.
type daemon struct {
	cfg     config.Config
	network netip.Prefix // this machine's address and its network's mask
	version string
	pace    int // of boards
	log     *slog.Logger
	state   *stateDir
	socks   *sockets
	secrets secrets
	tls     certificate

	nfs    *nfs.Server // nil: nfsd serves
	policy *boot.Policy
	dhcp   *dhcp.Server
	tftp   *tftp.Server
	broker *broker.Broker
	fleet  *fleet.Fleet
	queue  *queue.Queue
	doctor *doctor.Doctor
	web    *web.Server

	operations *operation.Keeper

	diagnoses  *diagnosis.Tracker
	boardLog   *boardlog.Log
	packets    boardlog.Packets
	logSockets []logSocket

	hooks       *webhook.Sender
	tidier      *tidy.Tidier
	trash       *trash.Trash
	watchFolder *watchfolder.Folder // nil: there is none
}

// logStart logs what serves where.
func (d *daemon) logStart() {
	if f, exposed := doctor.RootsMount(d.cfg.StateDir); exposed {
		d.log.Info("roots could be mounted more safely", "component", "rootfs", "detail", f.Text, "todo", f.Todo)
	}
	d.log.Info("serving", "interface", d.cfg.Interface, "addr", d.network, "state", d.cfg.StateDir, "pis", len(d.state.registry.All()), "version", d.version)
}

// close closes what open has opened.
func (d *daemon) close() error {
	var err error
	if d.queue != nil {
		err = d.queue.Close()
	}
	if d.broker != nil {
		d.broker.Close()
	}
	return err
}

// run runs every server until ctx ends or one of them fails, which ends the
// others too. The timeline and the boards' logs end last, so that they miss nothing.
func (d *daemon) run(ctx context.Context) error {
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	recorded := make(chan error, 1)
	go func() { recorded <- d.state.timeline.Run(recording) }()
	var logged sync.WaitGroup
	logged.Go(func() { d.boardLog.Run(recording) })
	g, ctx := errgroup.WithContext(ctx)
	if d.nfs != nil {
		g.Go(func() error { return d.nfs.Serve(ctx, d.socks.nfs) })
	}
	g.Go(func() error { return d.dhcp.Serve(ctx, d.socks.dhcp) })
	if d.socks.pxe != nil {
		g.Go(func() error { return d.dhcp.Serve(ctx, d.socks.pxe) })
	}
	g.Go(func() error { giveMemoryBack(ctx); return nil })
	g.Go(func() error { d.logOtherServers(ctx); return nil })
	g.Go(func() error { d.fleet.WatchAddresses(ctx); return nil })
	g.Go(func() error { d.diagnoses.Run(ctx); return nil })
	g.Go(func() error { return d.queue.Run(ctx) })
	g.Go(func() error { return d.operations.Run(ctx) })
	g.Go(func() error {
		return d.web.Serve(ctx, web.Listeners{Public: d.socks.http, TLS: d.socks.https, Config: d.tls.config, Control: d.socks.control})
	})
	d.receiveEncoders(ctx, g)
	d.receiveLogs(ctx, g)
	d.runIntegrations(ctx, g)
	err := d.tftp.Serve(ctx, d.socks.tftp) // by this goroutine: it opens sockets, which have to be in its network
	g.Go(func() error { return err })
	err = g.Wait()
	stopRecording()
	logged.Wait()
	return errors.Join(err, <-recorded)
}

// giveMemoryBack returns to the kernel what starting took, and an idle daemon does not need.
func giveMemoryBack(ctx context.Context) {
	if pause.For(ctx, 10*time.Second) {
		debug.FreeOSMemory()
	}
}
