package config

//go:generate go test . -run TestReferenceIsUpToDate -update

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A key is what the file may hold: its place, its documentation for Example,
// and the part of a Config that it sets.
type key struct {
	section, name string
	doc           string // lines
	value         value
}

func (k key) path() string { return join(k.section, k.name) }

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// keys is the table of all keys, bound to c, in the order of Example.
func keys(c *Config) []key {
	return []key{
		{"", "interface", "The network interface that the Pis are plugged into, for example \"eth0\".\nserve --interface overrides it.", link{&c.Interface}},
		{"", "state_dir", "The directory for templates, root file systems, the database and the queue. It\nneeds a file system with Linux owners and modes, so neither FAT nor a network\nshare. On btrfs and XFS a new root takes next to no space.", path{&c.StateDir, false}},
		{"", "socket", "The socket on which the daemon accepts commands; \"\" is pibootd.sock in\nstate_dir.", path{&c.Socket, true}},

		{"dhcp", "port", "UDP port of the DHCP server. Real boards use port 67.", port(&c.DHCP.Port)},
		{"dhcp", "mode", "Which clients DHCP answers. \"reservation\": only registered boards, so the\nnetwork may have another DHCP server. \"pool\": all others too, with an address\nof pool. \"proxy\": registered boards, but only with boot information; another\nDHCP server assigns the addresses, to each board its registered one.", choice[DHCPMode]{&c.DHCP.Mode, []DHCPMode{Reservation, Pool, Proxy}}},
		{"dhcp", "pool", "With mode \"pool\": the addresses for clients that are not registered,\nfirst-last. None of them may be in addresses, and no other DHCP server may\nhand them out.", addresses{&c.DHCP.Pool}},
		{"dhcp", "discovered", "What boards that are not registered get. \"note\": an entry in the list of\ndiscovered boards. \"boot\": with the modes \"pool\" and \"proxy\", boot information\ntoo, so that they ask for files.", choice[Discovered]{&c.DHCP.Discovered, []Discovered{Note, Boot}}},
		{"dhcp", "reply_delay", "How long the reply to the boot ROM of a Pi 3B or 2B is delayed, because it\nmisses one that comes at once. Other boards get theirs without delay.", span{&c.DHCP.ReplyDelay, time.Millisecond, 4 * time.Second}},
		{"dhcp", "addresses", "The addresses that boards get, first-last, for example\n\"192.168.1.200-192.168.1.230\"; \"\" is the upper quarter of the interface's\nnetwork. No other DHCP server may hand these out.", addresses{&c.DHCP.Addresses}},
		{"dhcp", "lease", "How long a board may keep its address without renewing it. It always gets the\nsame one.", span{&c.DHCP.Lease, minLease, maxLease}},
		{"dhcp", "router", "The gateway that boards are given; \"\" gives them none.", host{&c.DHCP.Router}},
		{"dhcp", "dns", "The name servers that boards are given.", hosts{&c.DHCP.DNS}},
		{"dhcp", "subnets", "Networks of boards behind routers that relay DHCP to this machine, each as\n\"NETWORK FIRST-LAST ROUTER\": the addresses that boards get there, and their\ngateway, for example [\"192.168.2.0/24 192.168.2.200-192.168.2.230 192.168.2.1\"].", subnets{&c.DHCP.Subnets}},
		{"dhcp", "domain", "The domain that boards are given; \"\" gives them none.", domain{&c.DHCP.Domain}},

		{"tftp", "port", "UDP port of the TFTP server. Real boards use port 69.", port(&c.TFTP.Port)},

		{"nfs", "driver", "Who serves NFS. \"embedded\": pibootd itself. \"kernel\": this machine's nfsd\n(package nfs-kernel-server). \"auto\": nfsd if it serves NFSv3 when pibootd\nstarts, otherwise pibootd. docs/network.md compares them.", choice[Driver]{&c.NFS.Driver, []Driver{Auto, Embedded, Kernel}}},
		{"nfs", "port", "TCP port of the NFS server, and TCP and UDP port of its MOUNT service. It\napplies to pibootd's own server; nfsd has its own configuration.", port(&c.NFS.Port)},
		{"nfs", "portmap_port", "TCP and UDP port of the portmapper, which some initramfs ask for the ports of\nNFS, always at port 111; 0 runs none. If nfsd serves, so does its portmapper.", number{&c.NFS.PortmapPort, 0, maxPort, fmt.Sprintf("a port, 1 to %d, or 0 for no portmapper", maxPort)}},
		{"nfs", "privileged_port", "Whether boards have to mount from a port below 1024, which only root on a board\ncan. Linux does so by itself; programs that use NFS without a mount may not.", yesNo{&c.NFS.PrivilegedPort}},

		{"queue", "port", "TCP port on which the workers fetch work.", port(&c.Queue.Port)},
		{"queue", "url", "A NATS server of your own to use instead of pibootd's, as boards reach it, for\nexample \"nats://10.0.0.2:4222\"; several of one cluster with commas; \"\" is none.\ndocs/machines.md has the server's configuration.", queueURL{&c.Queue.URL}},
		{"queue", "credentials", "The file (mode 0600) with pibootd's user, password and issuer on that server.", path{&c.Queue.Credentials, true}},
		{"queue", "keep", "How many ended jobs pibootd remembers. What they published stays.", number{&c.Queue.Keep, 1, 100_000, "jobs, 1 to 100000"}},

		{"http", "port", "TCP port of the web page, the API and the published videos.", port(&c.HTTP.Port)},
		{"http", "names", "Names of this machine in DNS by which browsers and workers reach that port,\nfor example [\"nas.example.org\"]. Its addresses, its host name, localhost and\nnames in .local work without being listed. Requests to other names are refused,\nexcept for published videos.", names{&c.HTTP.Names}},
		{"http", "muxers", "The addresses of muxers that fetch work over HTTP (POST /muxer/ID), as those of\nHLS-Muxing-Cluster-Example-Code do; [] accepts none.", hosts{&c.HTTP.Muxers}},
		{"http", "public", "What needs no login. \"media\": published videos (/media/). \"read\": also the\npage and what the API shows. \"none\": nothing, so that players need a token, too.", choice[Public]{&c.HTTP.Public, []Public{PublicNone, PublicMedia, PublicRead}}},
		{"http", "public_metrics", "Whether /metrics needs no login.", yesNo{&c.HTTP.PublicMetrics}},
		{"http", "public_program", "Whether the download of the worker's program needs no login\n(/worker/v1/program/).", yesNo{&c.HTTP.PublicProgram}},
		{"http", "tls_port", "TCP port of the same page and API over TLS; 0 opens none. If another program\nhas the port, pibootd starts without it and logs a warning.", number{&c.HTTP.TLSPort, 0, maxPort, fmt.Sprintf("a port, 1 to %d, or 0 for none", maxPort)}},
		{"http", "tls_cert_file", "The certificate for that port, with its chain, in PEM; \"\" is one that pibootd\nmakes and signs itself, and whose fingerprint it logs.", path{&c.HTTP.TLSCertFile, true}},
		{"http", "tls_key_file", "The certificate's private key (mode 0600), in PEM.", path{&c.HTTP.TLSKeyFile, true}},
		{"http", "insecure_login", "Whether passwords and admin tokens are accepted over plain HTTP from other\nmachines, where the network can read them.", yesNo{&c.HTTP.InsecureLogin}},
		{"http", "session", "How long a login in a browser lasts.", span{&c.HTTP.Session, time.Second, maxLease}},
		{"http", "upload_token_file", "A file (mode 0600) with a token of at least 16 bytes. Whoever has the token may\nupload into the media share through this port (PUT /api/v1/media/NAME) and\nsubmit jobs, as with a token of scope submit (pibootd token add); \"\" is none.", path{&c.HTTP.UploadTokenFile, true}},
		{"http", "upload_max_gb", "The largest upload, in gigabytes.", number{&c.HTTP.UploadMaxGB, 1, 100_000, "gigabytes, 1 to 100000"}},

		{"roots", "min_free", "How many megabytes of the file system of state_dir stay free when a root or a\ntemplate is made, so that boards can write. 0 means 512, or 5 % of a small file\nsystem.", number{&c.Roots.MinFree, 0, 100_000_000, "megabytes, 0 to 100000000"}},

		{"boot", "gpu_mem", "Megabytes of each board's memory for its GPU; hardware decoding needs 128 or\nmore. A board's own setting overrides it.", number{&c.Boot.GPUMem, 16, 512, "megabytes, 16 to 512"}},
		{"boot", "ip", "How boards get their address after the boot ROM. \"static\": the kernel arguments\nname it, so that no other DHCP server can give a board a wrong one. \"dhcp\": the\nboard asks again. With dhcp.mode = \"proxy\" it always is \"dhcp\".", choice[BootIP]{&c.Boot.IP, []BootIP{StaticIP, DHCPIP}}},
		{"boot", "args", "More kernel arguments for all boards, for example [\"cma=128M\", \"quiet\"].", kernelArgs{&c.Boot.Args}},

		{"media", "dir", "The directory with the videos, which the boards mount. Published streams go to\nhls in it. \"\" is media in state_dir.", path{&c.Media.Dir, true}},
		{"media", "inbox", "A directory in the media share, for example \"inbox\", whose videos are\ntranscoded. \"\" watches none.", sharePath{&c.Media.Inbox}},
		{"media", "inbox_makes", "What they become. \"hls\" or \"cmaf\": a stream with the usual ladder. \"author\": a\nstream with the source's bitrate, half of it and 200 kb/s. \"mp4\" or \"mkv\": a\nfile.", choice[Makes]{&c.Media.InboxMakes, []Makes{MakesHLS, MakesCMAF, MakesAuthor, MakesMP4, MakesMKV}}},
		{"media", "tidy_after", "How long after its job is done an original is moved to originals in the media\nshare, for example \"72h\"; \"0s\" leaves originals where they are.", span{&c.Media.TidyAfter, 0, maxLease}},
		{"media", "trash_keep", "How long a deleted video stays in trash in the media share, from where it can\nbe put back. \"0s\" keeps it until somebody deletes it there.", span{&c.Media.TrashKeep, 0, maxLease}},
		{"media", "scratch_gb", "How many gigabytes each board may have in its scratch: what it has encoded and\npibootd has not accepted yet.", number{&c.Media.ScratchGB, 1, 100_000, "gigabytes, 1 to 100000"}},

		{"live", "allow", "Addresses and networks where sources of live streams may be, for example\n[\"192.168.1.20\", \"10.1.0.0/24\"]; [] allows files and named pipes of the media\nshare only. Never this machine.", prefixes{&c.Live.Allow}},
		{"live", "rtmp_port", "TCP port on which encoders such as OBS send live streams by RTMP, usually 1935;\n0 opens none. Each needs a stream key; docs/live.md says more.", portOrNone(&c.Live.RTMPPort)},

		{"webhook", "url", "The URL that pibootd posts to when a job ends, for example\n\"https://cms.example/hooks/video\"; \"\" posts nothing.", webURL{&c.Webhook.URL}},
		{"webhook", "secret_file", "A file (mode 0600) with a secret of at least 16 bytes that signs these posts;\n\"\" signs nothing.", path{&c.Webhook.SecretFile, true}},

		{"logs", "syslog_port", "UDP port on which boards' syslog is received (RFC 3164 and 5424); 0 opens none.\nIf another program has the port, boards boot all the same.", portOrNone(&c.Logs.SyslogPort)},
		{"logs", "netconsole_port", "UDP port on which boot code (NETCONSOLE in the EEPROM) and kernels send their\nmessages; 0 opens none.", portOrNone(&c.Logs.NetconsolePort)},
		{"logs", "netconsole", "The network device from which boards' kernels send their log to that port, for\nexample \"eth0\"; the kernel arguments get netconsole=. \"\" has no kernel send\nanything. docs/logs.md says when to use it.", link{&c.Logs.Netconsole}},
		{"logs", "journal", "Whether the worker on a board sends the board's journal, or the kernel's log\nwhere there is no systemd.", yesNo{&c.Logs.Journal}},
		{"logs", "board_mb", "How many megabytes of logs are kept of each board. The oldest go first.", number{&c.Logs.BoardMB, 1, 10_000, "megabytes, 1 to 10000"}},
		{"logs", "keep", "How long they are kept.", span{&c.Logs.Keep, time.Hour, maxKeep}},

		{"log", "level", "The lowest level that is logged: \"debug\", \"info\", \"warn\" or \"error\".", level{&c.Log.Level}},
	}
}

// Example returns a file with all keys, each documented and set to its
// default.
func Example() string {
	var b strings.Builder
	b.WriteString("# The configuration of pibootd. Every key may be left out; the values here are\n# the defaults.\n")
	c := Default()
	section := ""
	for _, k := range keys(&c) {
		if k.section != section {
			section = k.section
			fmt.Fprintf(&b, "\n[%s]\n", section)
		} else {
			b.WriteByte('\n')
		}
		for line := range strings.Lines(k.doc + "\n") {
			b.WriteString("# " + line)
		}
		fmt.Fprintf(&b, "%s = %s\n", k.name, k.value.text())
	}
	return b.String()
}

// MarshalJSON returns the keys as they stand in the file, sections being
// objects.
func (c Config) MarshalJSON() ([]byte, error) {
	sections := map[string]map[string]json.RawMessage{}
	top := map[string]any{}
	for _, k := range keys(&c) {
		value := json.RawMessage(k.value.text())
		if k.section == "" {
			top[k.name] = value
			continue
		}
		if sections[k.section] == nil {
			sections[k.section] = map[string]json.RawMessage{}
			top[k.section] = sections[k.section]
		}
		sections[k.section][k.name] = value
	}
	return json.Marshal(top)
}
