// Package fleet adds boards to an installation, changes and removes them: the order
// in which a root is cloned, a board registered, its export opened and proved.
package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"pibootd/pkg/boot"
	"pibootd/pkg/bootconfig"
	"pibootd/pkg/config"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/timeline"
)

// A Fleet is the boards of one installation. Set its fields before use; its
// methods are safe for concurrent use.
type Fleet struct {
	Registry  *registry.Registry
	Templates *rootfs.Templates
	Roots     *rootfs.Roots
	NFS       Exporter
	Timeline  *timeline.Log
	Policy    *boot.Policy
	Log       *slog.Logger

	Network   netip.Prefix    // this machine's address and its network's mask
	Addresses config.Range    // of boards without a fixed address
	Subnets   []config.Subnet // behind relays
	MediaDir  string
	// ScratchBytes is the most that a board may have in its scratch; 0: no limit.
	ScratchBytes int64
	QueueURL     string       // where workers fetch work
	Muxers       []netip.Addr // of the older pool, boards' too; they get an export of their own
	// PrivilegedPort has all exports refuse calls from port 1024 and up.
	PrivilegedPort bool
	// FindUsers returns the hosts that use addresses, as dhcp.FindUsers does; nil:
	// addresses are not checked.
	FindUsers func(ctx context.Context, addrs []netip.Addr) (map[netip.Addr][]pi.MAC, error)
	// Disconnect ends the queue connection of a board or machine that was removed.
	Disconnect func(worker string) error

	changes   *changesUnderWay
	asked     chan registry.Pi // for an address: see AskedForAddress
	clones    chan struct{}    // has an element for each root that is being cloned
	exporting chan struct{}    // has an element while the media share is being exported
}

// An Exporter opens directories to boards over NFS: pibootd's own server or
// this machine's nfsd.
type Exporter interface {
	// MountPath returns what a client has to mount for dir: path, if the server
	// exports directories under any path.
	MountPath(path, dir string) string
	// Export opens e, or changes the export of e's path into e.
	Export(e nfs.Export) error
	// Unexport closes the export of that path, if there is one.
	Unexport(path string) error
	// Exports returns what is open, by this process or a former one.
	Exports() []nfs.Export
	// Probe tries what client can do with an export.
	Probe(ctx context.Context, client, server netip.Addr, path string, want probe.File) (probe.Report, error)
}

// New returns f, ready to use.
func New(f Fleet) *Fleet {
	f.changes = &changesUnderWay{reserved: map[pi.Serial]registry.Pi{}}
	f.clones = make(chan struct{}, maxClones)
	f.exporting = make(chan struct{}, 1)
	f.asked = make(chan registry.Pi, 64)
	return &f
}

// Start brings the machine in line with the registry after a start: what an
// interrupted change left is removed, and the exports of all boards and of the
// media share are opened. A board whose export cannot be opened is reported
// and does not keep the others from booting.
func (f *Fleet) Start() error {
	known := func(serial pi.Serial) bool {
		_, ok := f.Registry.BySerial(serial)
		return ok
	}
	if err := errors.Join(f.Templates.Sweep(), f.Roots.Sweep(known)); err != nil {
		return err
	}
	f.finishReplacements()
	// First, because the exports below can have the ids and paths of these.
	if err := f.closeUnknown(); err != nil {
		return err
	}
	update := f.Roots.UpdateWorkers()
	for _, board := range f.Registry.All() {
		if err := f.Roots.Mount(board.Serial); err != nil {
			f.Log.Error("root not mounted", "component", "fleet", "pi", board.Name, "err", err)
			f.record(board, timeline.RootFailed, "not mounted: "+err.Error())
			continue
		}
		f.updateWorker(update, board) // before a board can start the former one
		if err := f.NFS.Export(f.rootExport(board)); err != nil {
			f.Log.Error("root not exported", "component", "fleet", "pi", board.Name, "err", err)
			f.record(board, timeline.RootFailed, "not exported: "+err.Error())
		}
		if err := f.exportScratch(board); err != nil {
			f.Log.Error("scratch not exported", "component", "fleet", "pi", board.Name, "err", err)
			f.record(board, timeline.RootFailed, "scratch not exported: "+err.Error())
		}
	}
	f.exportMuxers()
	return f.exportMedia()
}

// Stop unmounts the roots that Start mounted, once no server serves them any more.
func (f *Fleet) Stop() error {
	var errs []error
	for _, board := range f.Registry.All() {
		errs = append(errs, f.Roots.Unmount(board.Serial))
	}
	return errors.Join(errs...)
}

// closeUnknown closes the exports that an interrupted Remove, or a media share that
// was elsewhere, left open.
func (f *Fleet) closeUnknown() error {
	known := map[string]bool{f.mediaPath(): true, f.MuxerPath(): len(f.Muxers) > 0}
	for _, board := range f.Registry.All() {
		known[f.RootPath(board.Serial)] = true
		known[f.scratchPath(board.Serial)] = true
	}
	var errs []error
	for _, e := range f.NFS.Exports() {
		if !known[e.Path] {
			errs = append(errs, f.NFS.Unexport(e.Path))
		}
	}
	return errors.Join(errs...)
}

// RootPaths returns a function that returns the path under which a board mounts its
// root. It is the Policy's Server.RootPath.
func RootPaths(nfs Exporter, roots *rootfs.Roots) func(pi.Serial) string {
	return func(serial pi.Serial) string { return nfs.MountPath(boot.RootExport(serial), roots.Path(serial)) }
}

// RootPath returns the path under which a board mounts its root.
func (f *Fleet) RootPath(serial pi.Serial) string { return RootPaths(f.NFS, f.Roots)(serial) }

func (f *Fleet) rootExport(board registry.Pi) nfs.Export {
	return nfs.Export{
		ID:      uint32(board.ID),
		Path:    f.RootPath(board.Serial),
		Dir:     f.Roots.Path(board.Serial),
		Clients: []netip.Addr{board.IP},
		Squash:  nfs.NoSquash,

		ReadOnly:       board.Settings.Volatile,
		Relaxed:        board.Settings.Durable == registry.Relaxed,
		MinFree:        boardsFloor(f.Roots.Path(board.Serial)),
		PrivilegedPort: f.PrivilegedPort,
	}
}

// A Request describes a board to be added.
type Request struct {
	MAC      pi.MAC            `json:"mac"`
	Serial   pi.Serial         `json:"serial"`
	Name     string            `json:"name,omitempty"`     // "" means pi-<serial>
	IP       netip.Addr        `json:"ip,omitzero"`        // zero: a free one of Addresses
	Template string            `json:"template,omitempty"` // "" means the only one there is
	Clone    string            `json:"clone,omitempty"`    // a rootfs.CloneMethod; "" means the best that works
	Settings registry.Settings `json:"settings"`
}

// Added describes what was done for a board.
type Added struct {
	Pi      registry.Pi        `json:"pi"`
	Existed bool               `json:"existed"` // it was registered already, as requested; nothing was done
	Clone   rootfs.CloneMethod `json:"clone,omitempty"`
	Files   int                `json:"files,omitempty"`
	Bytes   int64              `json:"bytes,omitempty"`
	Export  string             `json:"export"`
	Proof   []string           `json:"proof,omitempty"` // what was tried from the board's address, and worked
	Lacks   []string           `json:"lacks,omitempty"` // a sentence for each file that its model needs and would not find
}

// Add registers a board: its root is cloned, then the registration is
// committed, then the export opened and proved from the board's address.
// If it is interrupted before the commit, the board does not exist; afterwards it
// is complete. A board that is already registered as requested stays as it is.
// Boards can be added side by side, because each reserves its name and addresses
// first.
func (f *Fleet) Add(ctx context.Context, r Request, progress rootfs.Progress) (Added, error) {
	if err := pi.CheckPair(r.MAC, r.Serial); err != nil {
		return Added{}, pi.InvalidField("", fmt.Errorf("fleet: %w", err)) // one of the two
	}
	end, err := f.changes.begin(ctx, r.Serial)
	if err != nil {
		return Added{}, err
	}
	defer end()
	if board, ok := f.Registry.BySerial(r.Serial); ok {
		return f.existing(ctx, board, r)
	}
	template, err := f.template(r.Template)
	if err != nil {
		return Added{}, err
	}
	board, err := f.plan(ctx, r, template)
	if err != nil {
		return Added{}, err
	}
	models := f.modelsOf(board) // registered, it is discovered no longer
	added, err := f.create(ctx, board, template, progress)
	if err != nil {
		return Added{}, err
	}
	if added.Proof, err = f.open(ctx, added.Pi); err != nil {
		return added, fmt.Errorf("%s is registered and its root is cloned, but its export does not work: %w", added.Pi.Name, err)
	}
	added.Lacks = f.lacks(added.Pi, models)
	return added, nil
}

// modelsOf returns the models that a board can be, by what its boot code said when it asked for
// an address.
func (f *Fleet) modelsOf(board registry.Pi) []bootconfig.Model {
	for _, found := range f.Registry.Discovered() {
		if found.MAC == board.MAC && found.Model != "" {
			return bootconfig.ModelsOf(found.Model)
		}
	}
	return bootconfig.ModelsAt(board.MAC)
}

// lacks returns which files a board would not find, in sentences. It is better to learn that before
// the board is switched on. A file that does not exist keeps nobody from adding a board.
func (f *Fleet) lacks(board registry.Pi, models []bootconfig.Model) []string {
	if board.Arch == pi.AMD64 { // an emulated board
		return nil
	}
	load, err := f.Policy.LoadsAs(board, models...)
	if err != nil {
		return []string{fmt.Sprintf("%s would be served no boot files: %v", board.Name, err)}
	}
	facts := diagnosis.FactsOf(board)
	facts.Model, facts.Missing = string(load.Model), load.Missing
	return facts.Lacks()
}

// template finds the template for a new board.
func (f *Fleet) template(ref string) (rootfs.Template, error) {
	if ref != "" {
		return f.findTemplate(ref)
	}
	all, err := f.Templates.List()
	if err != nil {
		return rootfs.Template{}, err
	}
	newest := map[string]rootfs.Template{}
	for _, t := range all {
		if t.Version > newest[t.Name].Version {
			newest[t.Name] = t
		}
	}
	if len(newest) > 1 {
		return rootfs.Template{}, pi.InvalidField("template", fmt.Errorf("fleet: there are %d templates; want --template NAME to say which one to clone (pibootd template list names them)", len(newest)))
	}
	for _, t := range newest {
		return t, nil
	}
	return rootfs.Template{}, pi.Conflicting("", errors.New("fleet: there is no template to clone; make one (pibootd template build minimal) or import one (pibootd template import)"))
}

// findTemplate finds the template that a request names.
func (f *Fleet) findTemplate(ref string) (rootfs.Template, error) {
	template, err := f.Templates.Find(ref)
	if errors.Is(err, rootfs.ErrNoTemplate) {
		err = pi.InvalidField("template", err)
	}
	return template, err
}

// parseMethod parses the method by which a request wants a root cloned.
func parseMethod(text string) (rootfs.CloneMethod, error) {
	method, err := rootfs.ParseCloneMethod(text)
	return method, pi.InvalidField("clone", err)
}

// plan turns a request into a board that can be registered, and reserves its name
// and address.
func (f *Fleet) plan(ctx context.Context, r Request, template rootfs.Template) (registry.Pi, error) {
	board := registry.Pi{
		Serial: r.Serial, MAC: r.MAC, Name: r.Name, IP: r.IP, Settings: r.Settings,
		Root: registry.Root{Template: template.Name, Version: template.Version, Arch: template.Arch, Clone: r.Clone}, Added: time.Now(),
	}
	if board.Name == "" {
		board.Name = "pi-" + r.Serial.String()
	}
	if board.IP.IsValid() {
		return f.reserveAddress(ctx, board)
	}
	return f.reserveFreeAddress(ctx, board)
}

// reserveAddress reserves a board's name and address.
func (f *Fleet) reserveAddress(ctx context.Context, board registry.Pi) (registry.Pi, error) {
	if err := f.checkAddress(board.IP); err != nil {
		return registry.Pi{}, err
	}
	board, err := f.changes.reserve(board, nil, f.Registry.Check)
	if err != nil {
		return registry.Pi{}, err
	}
	return board, f.checkUnused(ctx, board)
}

// reserveFreeAddress reserves the name of a board and the lowest address that is
// free. It looks for a host that uses the address once the address is reserved,
// because that takes a while.
func (f *Fleet) reserveFreeAddress(ctx context.Context, board registry.Pi) (registry.Pi, error) {
	used := map[netip.Addr]bool{f.Network.Addr(): true}
	addresses := f.addressesFor(board.MAC)
	free := func(reserved func(netip.Addr) bool) (netip.Addr, error) {
		return f.Registry.FreeAddress(addresses.First, addresses.Last, func(a netip.Addr) bool { return used[a] || reserved(a) })
	}
	for {
		reserved, err := f.changes.reserve(board, free, f.Registry.Check)
		if err != nil {
			return registry.Pi{}, err
		}
		if err := f.checkAddress(reserved.IP); err != nil {
			return registry.Pi{}, err
		}
		if f.checkUnused(ctx, reserved) == nil {
			return reserved, ctx.Err()
		}
		used[reserved.IP] = true
	}
}

// checkAddress returns an error if no board can have that address here.
func (f *Fleet) checkAddress(ip netip.Addr) error {
	if s, ok := f.subnetOf(ip); ok {
		return checkRemote(s, ip)
	}
	if !f.Network.Contains(ip) || ip == f.Network.Addr() {
		return pi.InvalidField("ip", fmt.Errorf("fleet: %s cannot be a board's address; want one of %s other than this machine's %s", ip, f.Network.Masked(), f.Network.Addr()))
	}
	// RFC 1122 §3.2.1.3; two addresses have neither (RFC 3021).
	network := f.Network.Masked()
	if pair := network.Bits() >= ip.BitLen()-1; !pair && (ip == network.Addr() || !network.Contains(ip.Next())) {
		return pi.InvalidField("ip", fmt.Errorf("fleet: %s cannot be a board's address: it is that of the network %s itself, or its broadcast address", ip, network))
	}
	return nil
}

// create clones the board's root and commits its registration.
func (f *Fleet) create(ctx context.Context, board registry.Pi, template rootfs.Template, progress rootfs.Progress) (Added, error) {
	method, err := parseMethod(board.Clone)
	if err != nil {
		return Added{}, err
	}
	token, err := newToken()
	if err != nil {
		return Added{}, err
	}
	release, err := f.acquireClone(ctx)
	if err != nil {
		return Added{}, err
	}
	defer release()
	report, err := f.Roots.Clone(ctx, template, method, board.Serial, f.identity(board, token), progress)
	if err != nil {
		return Added{}, err
	}
	board.Clone = string(report.How)
	registered, err := f.Registry.Add(ctx, board, token)
	if err != nil {
		return Added{}, errors.Join(err, f.Roots.Remove(board.Serial))
	}
	f.record(registered, timeline.Added, fmt.Sprintf("from %s@%d by %s", template.Name, template.Version, report.How))
	return Added{Pi: registered, Clone: report.How, Files: report.Files, Bytes: report.Bytes, Export: f.RootPath(board.Serial)}, nil
}

// services returns the addresses of this machine that a board's worker uses.
func (f *Fleet) services(serial pi.Serial) rootfs.Services {
	return rootfs.Services{
		QueueURL:      f.QueueURL,
		Server:        f.Network.Addr(),
		MediaExport:   f.mediaPath(),
		ScratchExport: f.scratchPath(serial),
		NFSPort:       f.Policy.Server.NFSPort,
	}
}

func (f *Fleet) identity(board registry.Pi, token string) rootfs.Identity {
	return rootfs.Identity{
		Hostname: board.Name,
		Worker:   rootfs.WorkerConfig{Name: board.Serial.String(), Token: token, Services: f.services(board.Serial)},
	}
}

func newToken() (string, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("fleet: making a token: %w", err)
	}
	return hex.EncodeToString(raw[:]), nil
}

func (f *Fleet) record(board registry.Pi, kind timeline.Kind, detail string) {
	f.Timeline.Record(timeline.Event{At: time.Now(), Board: board.Serial.String(), Name: board.Name, Kind: kind, Addr: board.IP, MAC: board.MAC, Detail: detail})
}
