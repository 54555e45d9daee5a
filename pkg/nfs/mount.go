package nfs

import (
	"errors"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"

	"pibootd/pkg/nfs/rpc"
)

// maxMounts bounds the mounts recorded for DUMP. Later mounts are served but not
// listed.
const maxMounts = 4096

// mountProgram is MOUNT version 3 (RFC 1813 §5.2), in order of procedure
// number.
func mountProgram() program {
	return program{number: 100005, version: 3, procedures: []procedure{
		{name: "MOUNT NULL", run: (*call).null},
		{name: "MNT", run: (*call).mnt},
		{name: "DUMP", run: (*call).dumpMounts},
		{name: "UMNT", run: (*call).umnt},
		{name: "UMNTALL", run: (*call).umntAll},
		{name: "EXPORT", run: (*call).listExports},
	}}
}

// exportPath reads the path of an export, with or without a slash at its end.
func (c *call) exportPath() string {
	p := string(c.in.Opaque(maxExportPath))
	if strings.HasPrefix(p, "/") {
		return path.Clean(p)
	}
	return p
}

// mnt is MNT (§5.2.1).
func (c *call) mnt() error {
	name := c.exportPath()
	if c.in.Bad {
		return errGarbage
	}
	wire, err := c.server.exports.useRoot(name, c.client, c.port)
	if !c.status(err) {
		c.report(MountEvent{Client: c.client, Export: name, Op: Refused, Reason: mountRefusal(err)})
		return nil
	}
	c.Opaque(wire)
	c.Uint32(1) // of the kinds of credentials there is one
	c.Uint32(rpc.AuthSys)
	if !c.service.quiet {
		c.server.mounts.add(c.client, name)
	}
	c.report(MountEvent{Client: c.client, Export: name, Op: Mounted})
	return nil
}

func mountRefusal(err error) string {
	switch {
	case errors.Is(err, statusNoEnt):
		return "no such export"
	case errors.Is(err, errPort):
		return "the call comes from a port that every user may use; the export wants one below 1024"
	}
	return "the address is not one of the export's clients"
}

// report logs and forwards what a client did.
func (c *call) report(e MountEvent) {
	if c.service.quiet {
		return
	}
	if e.Op == Refused {
		c.server.log().Warn("mount refused", "addr", e.Client, "export", e.Export, "reason", e.Reason)
	}
	if c.server.OnMount != nil {
		c.server.OnMount(e)
	}
}

// dumpMounts is DUMP (§5.2.2). A client sees its own mounts only.
func (c *call) dumpMounts() error {
	for _, p := range c.server.mounts.of(c.client) {
		c.Bool(true)
		c.String(c.client.String())
		c.String(p)
	}
	c.Bool(false)
	return nil
}

// umnt is UMNT (§5.2.3).
func (c *call) umnt() error {
	name := c.exportPath()
	if c.in.Bad {
		return errGarbage
	}
	c.unmount(name)
	return nil
}

// umntAll is UMNTALL (§5.2.4).
func (c *call) umntAll() error {
	for _, p := range c.server.mounts.of(c.client) {
		c.unmount(p)
	}
	return nil
}

func (c *call) unmount(name string) {
	if !c.service.quiet && c.server.mounts.remove(c.client, name) {
		c.report(MountEvent{Client: c.client, Export: name, Op: Unmounted})
	}
}

// listExports is EXPORT (§5.2.5). A client sees those that it may mount.
func (c *call) listExports() error {
	for _, e := range c.server.Exports() {
		if !slices.Contains(e.Clients, c.client) {
			continue
		}
		c.Bool(true)
		c.String(e.Path)
		c.Bool(true) // its groups: this client
		c.String(c.client.String())
		c.Bool(false)
	}
	c.Bool(false)
	return nil
}

// A mountTable records mounts, as far as clients report them. The zero value is
// empty.
type mountTable struct {
	mu     sync.Mutex
	mounts map[mountKey]struct{}
}

type mountKey struct {
	client netip.Addr
	path   string
}

func (m *mountTable) add(client netip.Addr, path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mounts == nil {
		m.mounts = map[mountKey]struct{}{}
	}
	if len(m.mounts) < maxMounts {
		m.mounts[mountKey{client, path}] = struct{}{}
	}
}

// remove reports whether there was such a mount.
func (m *mountTable) remove(client netip.Addr, path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := mountKey{client, path}
	_, ok := m.mounts[key]
	delete(m.mounts, key)
	return ok
}

// of returns what client has mounted, in order.
func (m *mountTable) of(client netip.Addr) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var paths []string
	for k := range m.mounts {
		if k.client == client {
			paths = append(paths, k.path)
		}
	}
	slices.Sort(paths)
	return paths
}

// forget drops the mounts of a removed export.
func (m *mountTable) forget(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.mounts {
		if k.path == path {
			delete(m.mounts, k)
		}
	}
}
