package config

// A listener is a port that a key opens.
type listener struct {
	path string
	port int
}

// listeners returns what is opened over UDP and over TCP.
func listeners(c *Config) (udp, tcp []listener) {
	nfs := []listener{{"nfs.port", c.NFS.Port}, {"nfs.portmap_port", c.NFS.PortmapPort}}
	udp = append([]listener{{"dhcp.port", c.DHCP.Port}, {"tftp.port", c.TFTP.Port}}, nfs...)
	udp = append(udp, listener{"logs.syslog_port", c.Logs.SyslogPort}, listener{"logs.netconsole_port", c.Logs.NetconsolePort})
	tcp = nfs
	if c.Queue.URL == "" {
		tcp = append(tcp, listener{"queue.port", c.Queue.Port})
	}
	return udp, append(tcp, listener{"http.port", c.HTTP.Port}, listener{"http.tls_port", c.HTTP.TLSPort}, listener{"live.rtmp_port", c.Live.RTMPPort})
}

// checkPorts reports ports that two listeners want, at the later of the two
// keys, once for each pair.
func (r *reader) checkPorts(c *Config) {
	reported := map[[2]string]bool{}
	udp, tcp := listeners(c)
	for _, all := range [][]listener{udp, tcp} {
		for i, a := range all {
			for _, b := range all[:i] {
				if a.port != b.port || a.port == 0 {
					continue
				}
				late, early := a, b
				if r.lines[late.path] < r.lines[early.path] {
					late, early = early, late
				}
				pair := [2]string{late.path, early.path}
				if !reported[pair] {
					r.problem(r.lines[late.path], "%s: %d, as %s; want a port that nothing else has", late.path, late.port, early.path)
				}
				reported[pair] = true
			}
		}
	}
}
