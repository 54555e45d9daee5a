package daemon

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"pibootd/pkg/access"
	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/tftp"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

// open makes the servers and joins them; each comes after the ones it needs.
func (d *daemon) open(ctx context.Context) (err error) {
	if d.secrets, err = readSecrets(d.cfg); err != nil {
		return err
	}
	if d.tls, err = d.openCertificate(); err != nil {
		return err
	}
	d.state.timeline.Logger = d.log
	exporter, server, err := openExporter(d.cfg, d.state.nfsKey, d.log)
	if err != nil {
		return err
	}
	templates := &rootfs.Templates{Dir: filepath.Join(d.cfg.StateDir, "templates"), Log: d.log, MinFree: d.cfg.MinFreeBytes()}
	roots := &rootfs.Roots{Dir: filepath.Join(d.cfg.StateDir, "roots"), Templates: templates, Log: d.log, MinFree: d.cfg.MinFreeBytes(), Machine: d.state.machine}
	d.nfs = server
	d.policy = d.newPolicy(exporter, roots)
	if d.nfs != nil {
		d.nfs.OnMount, d.nfs.OnLimit, d.nfs.OnBadHandle = d.policy.Mounted, d.policy.Limited, d.policy.OldHandle
	}
	d.boardLog = d.openBoardLog()
	d.dhcp = d.newDHCP()
	d.tftp = &tftp.Server{Source: d.policy, Log: d.log, OnDone: d.policy.Transferred}
	if d.broker, err = d.openBroker(); err != nil {
		return err
	}
	d.fleet = d.newFleet(exporter, templates, roots)
	d.policy.OnOffer = d.fleet.AskedForAddress
	if d.queue, err = d.openQueue(ctx); err != nil {
		return err
	}
	d.startIntegrations()
	d.diagnoses = d.newDiagnoses()
	d.doctor = d.newDoctor()
	d.operations = d.newOperations()
	d.web = d.newWeb()
	return nil
}

func (d *daemon) newPolicy(exporter fleet.Exporter, roots *rootfs.Roots) *boot.Policy {
	server := boot.Server{
		Addr: d.network.Addr(), NFSPort: d.cfg.NFS.Port, PortmapPort: d.cfg.NFS.PortmapPort,
		GPUMem: d.cfg.Boot.GPUMem, Args: d.cfg.Boot.Args, RootPath: fleet.RootPaths(exporter, roots), Static: staticNetworks(d.cfg, d.network),
		Netconsole: d.netconsole(), SyslogPort: d.cfg.Logs.SyslogPort,
	}
	if d.nfs == nil {
		server.NFSPort = 0 // nfsd's own, which the portmapper knows
	}
	return &boot.Policy{Registry: d.state.registry, Timeline: d.state.timeline, Roots: roots, Log: d.log, Server: server, Packets: &d.packets, Hosts: d.hosts}
}

// staticNetworks are those in which the kernel arguments tell boards their address: where
// pibootd assigns it.
func staticNetworks(cfg config.Config, own netip.Prefix) []boot.Network {
	if cfg.DHCP.Mode == config.Proxy || cfg.Boot.IP == config.DHCPIP {
		return nil
	}
	networks := []boot.Network{{Prefix: own, Router: cfg.DHCP.Router, DNS: cfg.DHCP.DNS}}
	for _, s := range cfg.DHCP.Subnets {
		networks = append(networks, boot.Network{Prefix: s.Network, Router: s.Router, DNS: cfg.DHCP.DNS})
	}
	return networks
}

// hosts returns the Ethernet addresses that have an address, by a lease or by
// ARP.
func (d *daemon) hosts(ctx context.Context, addr netip.Addr) []pi.MAC {
	hosts, err := dhcp.Hosts(ctx, d.state.pool, d.socks.dhcp, addr)
	if err != nil {
		d.log.Warn("cannot find out which host has an address", "component", "tftp", "addr", addr, "err", err)
	}
	return hosts
}

func (d *daemon) newDHCP() *dhcp.Server {
	cfg := d.cfg.DHCP
	return &dhcp.Server{
		Policy: d.policy, Log: d.log, Interface: d.cfg.Interface, Addr: d.network,
		Router: cfg.Router, DNS: cfg.DNS, Domain: cfg.Domain, LeaseTime: cfg.Lease,
		ReplyDelay: cfg.ReplyDelay, BootStrangers: cfg.Discovered == config.Boot,
		Subnets: dhcpSubnets(cfg.Subnets), Proxy: cfg.Mode == config.Proxy, Pool: d.state.pool,
		OnMessage: d.policy.DHCPMessage,
	}
}

func dhcpSubnets(subnets []config.Subnet) []dhcp.Subnet {
	var list []dhcp.Subnet
	for _, s := range subnets {
		list = append(list, dhcp.Subnet{Prefix: s.Network, Router: s.Router})
	}
	return list
}

// openBroker starts the embedded NATS server, or connects to the one that the
// configuration names.
func (d *daemon) openBroker() (*broker.Broker, error) {
	if d.cfg.Queue.URL != "" {
		return broker.Connect(broker.ExternalOptions{URL: d.cfg.Queue.URL, Credentials: d.secrets.queue, Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log})
	}
	addr := netip.AddrPortFrom(d.network.Addr(), uint16(d.cfg.Queue.Port))
	return broker.Start(broker.Options{Addr: addr, Listener: d.socks.queue, StoreDir: filepath.Join(d.cfg.StateDir, "nats"), Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log})
}

func (d *daemon) newFleet(exporter fleet.Exporter, templates *rootfs.Templates, roots *rootfs.Roots) *fleet.Fleet {
	return fleet.New(fleet.Fleet{
		Registry: d.state.registry, Templates: templates, Roots: roots, NFS: exporter, Timeline: d.state.timeline, Policy: d.policy, Log: d.log,
		Network: d.network, Addresses: boardAddresses(d.cfg, d.network), Subnets: d.cfg.DHCP.Subnets, MediaDir: d.cfg.MediaDir(), ScratchBytes: d.cfg.ScratchBytes(),
		QueueURL: queueURL(d.cfg, d.network.Addr()), PrivilegedPort: d.cfg.NFS.PrivilegedPort, Muxers: d.cfg.HTTP.Muxers,
		FindUsers: func(ctx context.Context, addrs []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
			return dhcp.FindUsers(ctx, d.cfg.Interface, d.network.Addr(), addrs)
		},
		Disconnect: d.broker.Disconnect,
	})
}

// boardAddresses returns the range of addresses for new boards.
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

func (d *daemon) openQueue(ctx context.Context) (*queue.Queue, error) {
	return queue.Open(ctx, queue.Options{
		Store: d.state.store, MediaDir: d.cfg.MediaDir(), Inbox: d.cfg.Media.Inbox, Broker: d.broker, Log: d.log,
		Keep: d.cfg.Queue.Keep, OnWorker: d.fleet.WorkerEvent, OnUnit: d.fleet.UnitEvent, Weight: d.weight, Labels: d.labels,
		OnMisuse: func(worker, what string) { d.policy.Broke(worker, "scratch", what) }, Revoke: d.revoke(), OnLogs: d.journals(),
		LiveAllow: d.cfg.Live.Allow, LiveKeys: d.liveKeys(),
	})
}

// revoke returns the function that ends boards' access to a file that they have open;
// nil if nfsd serves, which cannot do that.
func (d *daemon) revoke() func(*os.File) error {
	if d.nfs == nil {
		return nil
	}
	return d.nfs.Revoke
}

func (d *daemon) newDoctor() *doctor.Doctor {
	examiner := &doctor.Doctor{
		Fleet: d.fleet, Timeline: d.state.timeline, Diagnoses: d.diagnoses, Broker: d.broker, MuxerTroubles: d.queue.LegacyTroubles,
		Interface: d.cfg.Interface, Network: d.network, StateDir: d.cfg.StateDir, MediaDir: d.cfg.MediaDir(),
		DHCP: d.cfg.DHCP.Mode, NFS: d.cfg.NFS.Driver, Ports: portsText(d.cfg),
	}
	if d.watchFolder != nil {
		examiner.Refused = d.watchFolder.Refused
	}
	return examiner
}

func (d *daemon) newWeb() *web.Server {
	metrics := []prometheus.Collector{web.DHCPMetrics(d.dhcp), web.TFTPMetrics(d.tftp)}
	if d.nfs != nil {
		metrics = append(metrics, web.NFSMetrics(d.nfs))
	}
	public := d.cfg.HTTP.Public
	return &web.Server{
		Registry: d.state.registry, Fleet: d.fleet, Roots: d.fleet.Roots, Queue: d.queue, Timeline: d.state.timeline, BoardLog: d.boardLog, Doctor: d.doctor, Diagnoses: d.diagnoses,
		Metrics: metrics, Log: d.log, Packets: &d.packets, Config: d.cfg, Secrets: d.secretsOf,
		Templates: d.fleet.Templates, Operations: d.operations, Trash: d.trash, TrashKeep: d.cfg.Media.TrashKeep, MinFree: d.cfg.MinFreeBytes(),
		Access: access.New(d.state.store, d.cfg.HTTP.Session),
		Public: web.Public{
			Media: public != config.PublicNone, Read: public == config.PublicRead,
			Metrics: d.cfg.HTTP.PublicMetrics, Program: d.cfg.HTTP.PublicProgram, InsecureLogin: d.cfg.HTTP.InsecureLogin,
		},
		Names: d.cfg.HTTP.Names, UploadToken: d.secrets.upload, MaxUpload: int64(d.cfg.HTTP.UploadMaxGB) * 1_000_000_000,
		Share: d.shareProxy().Routes(), Muxers: d.muxers(),
		Info: web.Info{
			Version: d.version, PID: os.Getpid(), Interface: d.cfg.Interface, Network: d.network.String(),
			StateDir: d.cfg.StateDir, MediaDir: d.cfg.MediaDir(), HTTPPort: d.cfg.HTTP.Port,
			TLSPort: d.tlsPort(), Fingerprint: d.tls.fingerprint, RTMPPort: d.cfg.Live.RTMPPort,
		},
	}
}
