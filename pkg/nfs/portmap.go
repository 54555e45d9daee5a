package nfs

import (
	"net"
	"net/netip"
)

// Protocols of a mapping (RFC 1833 §3.1).
const (
	protoTCP = 6
	protoUDP = 17
)

// A mapping says on which port a program is served.
type mapping struct {
	prog, vers, proto uint32
	port              uint16
}

// portsOf is what is served on l.
func portsOf(l Listeners) []mapping {
	nfs, mount, portmap := nfsProgram(), mountProgram(), portmapProgram()
	var all []mapping
	add := func(p program, proto uint32, a net.Addr) {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			all = append(all, mapping{prog: p.number, vers: p.version, proto: proto, port: ap.Port()})
		}
	}
	add(nfs, protoTCP, l.NFS.Addr())
	add(mount, protoTCP, l.NFS.Addr())
	if l.MountUDP != nil {
		add(mount, protoUDP, l.MountUDP.LocalAddr())
	}
	if l.Portmap != nil {
		add(portmap, protoTCP, l.Portmap.Addr())
	}
	if l.PortmapUDP != nil {
		add(portmap, protoUDP, l.PortmapUDP.LocalAddr())
	}
	return all
}

// portmapProgram is the portmapper, version 2 (RFC 1833 §3.2). Nobody can
// register a program with it.
func portmapProgram() program {
	return program{number: 100000, version: 2, procedures: []procedure{
		{name: "PMAP NULL", run: (*call).null},
		{name: "PMAP SET", run: (*call).refuse},
		{name: "PMAP UNSET", run: (*call).refuse},
		{name: "GETPORT", run: (*call).getport},
		{name: "PMAP DUMP", run: (*call).dumpPorts},
	}}
}

// refuse is SET and UNSET: the answer is that nothing was done.
func (c *call) refuse() error {
	c.Bool(false)
	return nil
}

// getport is GETPORT. Port 0 means that the program is not served.
func (c *call) getport() error {
	want := mapping{prog: c.in.Uint32(), vers: c.in.Uint32(), proto: c.in.Uint32()}
	c.in.Uint32() // the port: of no meaning in this call
	if c.in.Bad {
		return errGarbage
	}
	for _, m := range c.service.ports {
		if m.prog == want.prog && m.vers == want.vers && m.proto == want.proto {
			want.port = m.port
		}
	}
	c.Uint32(uint32(want.port))
	return nil
}

// dumpPorts is DUMP.
func (c *call) dumpPorts() error {
	for _, m := range c.service.ports {
		c.Bool(true)
		c.Uint32(m.prog)
		c.Uint32(m.vers)
		c.Uint32(m.proto)
		c.Uint32(uint32(m.port))
	}
	c.Bool(false)
	return nil
}
