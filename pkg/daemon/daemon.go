package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/tftp"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/tidy"
	"pibootd/pkg/web"
)

// Options are what a daemon is started with.
type Options struct {
	Config  config.Config
	Version string // of this program, as the API reports it
	Log     *slog.Logger
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
	state, err := openState(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	if cfg.NFS.Driver, err = chooseDriver(ctx, cfg, network.Addr(), log); err != nil {
		return err
	}
	socks, err := listen(ctx, cfg, network.Addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socks.close()) }()
	d, err := newDaemon(cfg, network, state, o.Version, log)
	if err != nil {
		return err
	}
	if err := d.startQueue(ctx); err != nil {
		return err
	}
	defer d.broker.Close()
	defer func() { err = errors.Join(err, d.queue.Close()) }()
	if err := d.fleet.Start(); err != nil {
		return err
	}
	if f, exposed := doctor.RootsMount(cfg.StateDir); exposed {
		log.Info("roots could be mounted more safely", "component", "rootfs", "detail", f.Text, "todo", f.Todo)
	}
	log.Info("serving", "interface", cfg.Interface, "addr", network, "state", cfg.StateDir, "pis", len(state.registry.All()), "version", o.Version)
	err = d.run(ctx, socks)
	if d.nfs != nil { // nfsd serves the roots on
		err = errors.Join(err, d.fleet.Stop())
	}
	log.Info("stopped")
	return err
}

// A daemon is the servers and how they are joined.
type daemon struct {
	cfg    config.Config
	state  *stateDir
	log    *slog.Logger
	policy *boot.Policy
	dhcp   *dhcp.Server
	tftp   *tftp.Server
	nfs    *nfs.Server // nil: nfsd serves
	broker *queue.Broker
	queue  *queue.Queue
	fleet  *fleet.Fleet
	web    *web.Server

	tidier     *tidy.Tidier
	hookSecret []byte // nil: webhooks are not signed

	uploadToken []byte // nil: no uploads over TCP

	queueCredentials queue.Credentials // of the external server, if there is one
}

func newDaemon(cfg config.Config, network netip.Prefix, state *stateDir, version string, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: cfg, state: state, log: log}
	if err := d.readSecrets(); err != nil {
		return nil, err
	}
	state.timeline.Logger = log
	templates := &rootfs.Templates{Dir: filepath.Join(cfg.StateDir, "templates"), Log: log, MinFree: cfg.MinFreeBytes()}
	roots := &rootfs.Roots{Dir: filepath.Join(cfg.StateDir, "roots"), Templates: templates, Log: log, MinFree: cfg.MinFreeBytes()}
	exporter, server, err := openExporter(cfg, state.nfsKey, log)
	if err != nil {
		return nil, err
	}
	d.policy = &boot.Policy{
		Registry: state.registry, Timeline: state.timeline, Roots: roots, Log: log,
		Server: boot.Server{Addr: network.Addr(), NFSPort: cfg.NFS.Port, PortmapPort: cfg.NFS.PortmapPort, GPUMem: cfg.Boot.GPUMem, Args: cfg.Boot.Args},
	}
	d.dhcp = &dhcp.Server{
		Policy: d.policy, Log: log, Interface: cfg.Interface, Addr: network,
		Router: cfg.DHCP.Router, DNS: cfg.DHCP.DNS, Domain: cfg.DHCP.Domain, LeaseTime: cfg.DHCP.Lease,
		ReplyDelay: cfg.DHCP.ReplyDelay, BootStrangers: cfg.DHCP.Discovered == config.Boot,
		Proxy: cfg.DHCP.Mode == config.Proxy, Pool: state.pool,
		OnMessage: d.policy.DHCPMessage,
	}
	d.tftp = &tftp.Server{Source: d.policy, Log: log, OnDone: d.policy.Transferred}
	if d.nfs = server; server != nil {
		server.OnMount, server.OnLimit = d.policy.Mounted, d.policy.Limited
	} else {
		d.policy.Server.NFSPort = 0 // nfsd's own, which the portmapper knows
	}
	d.fleet = fleet.New(fleet.Fleet{
		Registry: state.registry, Templates: templates, Roots: roots, NFS: exporter, Timeline: state.timeline, Policy: d.policy, Log: log,
		Network: network, Addresses: boardAddresses(cfg, network), MediaDir: cfg.MediaDir(), ScratchBytes: cfg.ScratchBytes(), QueueURL: queueURL(cfg, network.Addr()), PrivilegedPort: cfg.NFS.PrivilegedPort,
		Muxers: cfg.HTTP.Muxers,
		FindUsers: func(ctx context.Context, addrs []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
			return dhcp.FindUsers(ctx, cfg.Interface, network.Addr(), addrs)
		},
		Disconnect: func(worker string) error { return d.broker.Disconnect(worker) },
	})
	d.policy.Server.RootPath = d.fleet.RootPath
	d.web = &web.Server{
		Fleet: d.fleet, NFS: d.nfs, DHCP: d.dhcp, TFTP: d.tftp, Timeline: state.timeline, Log: log, Names: cfg.HTTP.Names,
		Doctor: &doctor.Doctor{
			Fleet: d.fleet, Timeline: state.timeline, Workers: func() []queue.Worker { return d.queue.Workers() }, Broker: func() *queue.Broker { return d.broker },
			MuxerTroubles: func(ctx context.Context) ([]queue.ForeignTrouble, error) { return d.queue.ForeignTroubles(ctx) },
			Interface:     cfg.Interface, Network: network, StateDir: cfg.StateDir, MediaDir: cfg.MediaDir(), DHCP: cfg.DHCP.Mode, NFS: cfg.NFS.Driver, Ports: portsText(cfg),
		},
		Info: web.Info{Version: version, PID: os.Getpid(), Interface: cfg.Interface, Network: network.String(), StateDir: cfg.StateDir, MediaDir: cfg.MediaDir(), HTTPPort: cfg.HTTP.Port},
	}
	return d, nil
}

// boardAddresses are those that new boards get.
func boardAddresses(cfg config.Config, network netip.Prefix) config.Range {
	if cfg.DHCP.Addresses != (config.Range{}) {
		return cfg.DHCP.Addresses
	}
	return config.UpperQuarter(network)
}

// queueURL is where workers find the queue.
func queueURL(cfg config.Config, own netip.Addr) string {
	if cfg.Queue.URL != "" {
		return cfg.Queue.URL
	}
	return "nats://" + netip.AddrPortFrom(own, uint16(cfg.Queue.Port)).String()
}

// openBroker starts the embedded NATS server, the last socket to be bound, or
// connects to the one that the configuration names.
func (d *daemon) openBroker() (*queue.Broker, error) {
	if d.cfg.Queue.URL != "" {
		return queue.ConnectBroker(queue.ExternalOptions{URL: d.cfg.Queue.URL, Credentials: d.queueCredentials, Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log})
	}
	addr := netip.AddrPortFrom(d.policy.Server.Addr, uint16(d.cfg.Queue.Port))
	b, err := queue.StartBroker(queue.BrokerOptions{Addr: addr, StoreDir: filepath.Join(d.cfg.StateDir, "nats"), Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log})
	if err != nil {
		return nil, portError("queue", d.cfg.Queue.Port, err)
	}
	return b, nil
}

// startQueue opens the broker and the queue on it.
func (d *daemon) startQueue(ctx context.Context) error {
	var err error
	if d.broker, err = d.openBroker(); err != nil {
		return err
	}
	d.queue, err = queue.Open(ctx, queue.Options{
		Store: d.state.store, MediaDir: d.cfg.MediaDir(), Broker: d.broker, Log: d.log,
		Keep: d.cfg.Queue.Keep, OnWorker: d.fleet.WorkerEvent, OnUnit: d.fleet.UnitEvent, Weight: d.weight, Labels: d.labels,
		OnMisuse: func(worker, what string) { d.policy.Broke(worker, "scratch", what) }, Revoke: d.revoke(),
	})
	if err != nil {
		d.broker.Close()
		return err
	}
	d.web.Queue = d.queue
	d.startIntegrations()
	return nil
}

// revoke returns what ends the boards' hold on a file; nil where nfsd serves,
// which cannot be told to.
func (d *daemon) revoke() func(*os.File) error {
	if d.nfs == nil {
		return nil
	}
	return d.nfs.Revoke
}

// authenticate tells whether a worker is the board, or the other machine, that
// it says it is.
func (d *daemon) authenticate(worker, token string) bool {
	return d.state.registry.Authenticate(worker, token)
}

// refused puts on a board's timeline that somebody with its name was not let in,
// or has more connections than it needs.
func (d *daemon) refused(r queue.Refusal) {
	rule := string(r.Reason)
	what := rule
	switch r.Reason {
	case queue.WrongLogin:
		what = "wrong token" // a wrong name is on nobody's timeline
	case queue.OtherName:
		what = fmt.Sprintf("%s: %.100q", r.Reason, r.Worker)
	}
	if r.From.IsValid() {
		what = "from " + r.From.String() + ": " + what
	}
	switch r.Reason {
	case queue.TooMany, queue.TooOften:
		d.policy.Broke(r.Worker, rule, what)
	default:
		d.policy.LoginRefused(r.Worker, rule, what)
	}
}

// weight returns the share of its time that a worker is to work in.
func (d *daemon) weight(worker string) float64 {
	return d.state.registry.WorkerSettings(worker).Share()
}

// labels returns the labels of a worker's board or machine, as they are now.
func (d *daemon) labels(worker string) []string {
	return d.state.registry.WorkerSettings(worker).Labels
}

// run has every server serve until ctx ends or one of them fails, which ends
// the others too. The timeline is last, so that it misses nothing.
func (d *daemon) run(ctx context.Context, socks *sockets) error {
	d.policy.Hosts = func(ctx context.Context, addr netip.Addr) []pi.MAC {
		hosts, err := dhcp.Hosts(ctx, d.state.pool, socks.dhcp, addr)
		if err != nil {
			d.log.Warn("it is not known which host has an address", "component", "tftp", "addr", addr, "err", err)
		}
		return hosts
	}
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	recorded := make(chan error, 1)
	go func() { recorded <- d.state.timeline.Run(recording) }()
	g, ctx := errgroup.WithContext(ctx)
	if d.nfs != nil {
		g.Go(func() error { return d.nfs.Serve(ctx, socks.nfs) })
	}
	g.Go(func() error { return d.tftp.Serve(ctx, socks.tftp) })
	g.Go(func() error { return d.dhcp.Serve(ctx, socks.dhcp) })
	if socks.pxe != nil {
		g.Go(func() error { return d.dhcp.Serve(ctx, socks.pxe) })
	}
	g.Go(func() error { d.logOtherServers(ctx); return nil })
	g.Go(func() error { d.fleet.WatchAddresses(ctx); return nil })
	g.Go(func() error { return d.queue.Run(ctx) })
	g.Go(func() error { return d.web.Serve(ctx, socks.http, socks.control) })
	d.runIntegrations(ctx, g)
	err := g.Wait()
	stopRecording()
	return errors.Join(err, <-recorded)
}
