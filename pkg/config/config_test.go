package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestExampleIsTheDefaults(t *testing.T) {
	got, err := Load(write(t, Example()))
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("Load(Example) = %+v, %v; want %+v", got, err, Default())
	}
	if got, err := Load(write(t, "")); err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("Load(nothing) = %+v, %v; want %+v", got, err, Default())
	}
}

// Every field of Config must have a key, or nobody could set it.
func TestEveryFieldHasAKey(t *testing.T) {
	var c Config
	bound := len(keys(&c))
	fields := 0
	for i := range reflect.TypeFor[Config]().NumField() {
		f := reflect.TypeFor[Config]().Field(i)
		if f.Type.Kind() == reflect.Struct {
			fields += f.Type.NumField()
		} else {
			fields++
		}
	}
	if bound != fields {
		t.Errorf("%d keys for %d fields", bound, fields)
	}
	for _, k := range keys(&c) {
		if k.doc == "" || k.value.want() == "" {
			t.Errorf("%s has no documentation", k.path())
		}
		for line := range strings.Lines(k.doc) {
			if len(line) > 80 {
				t.Errorf("%s: documentation line of %d letters: %s", k.path(), len(line), line)
			}
		}
	}
}

func TestEverythingSet(t *testing.T) {
	got, err := Load(write(t, `
interface = "br0"
state_dir = '/srv/"pi\ü/'
socket = "/run/pibootd.sock"
tftp.port = 1069 # dotted
http = { port = 80, names = ["nas.example.org", "my_nas"], muxers = ["10.0.0.5"], upload_token_file = "/etc/token", upload_max_gb = 7 }

[dhcp]
port = 1067
mode = "pool"
addresses = "10.0.0.9 - 10.0.0.10"
pool = "10.0.0.11-10.0.0.99"
discovered = "boot"
reply_delay = "1.5s"
lease = "90m"
router = "10.0.0.1"
dns = [
	"10.0.0.1", # of the house
	'9.9.9.9',
]
domain = "pi.home.arpa"
[nfs]
driver = "kernel"
port = 20_049
portmap_port = 0
privileged_port = true
[queue]
port = 0x1000
url = "nats://10.0.0.2:4222, tls://nats.home.arpa"
credentials = "/etc/nats.toml"
[roots]
min_free = 2_000
[boot]
gpu_mem = 128
args = ["quiet", "cma=128M", "isolcpus=1,2"]
[media]
dir = "/srv/video"
inbox = "new/videos"
inbox_makes = "author"
tidy_after = "72h"
[webhook]
url = "https://cms.example/hook?a=b"
secret_file = "/etc/secret"
[log]
level = "debug"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Interface, want.StateDir, want.Socket = "br0", `/srv/"pi\ü`, "/run/pibootd.sock"
	want.TFTP.Port, want.HTTP.Port, want.Queue.Port = 1069, 80, 4096
	want.DHCP.Port, want.DHCP.Lease, want.DHCP.Domain = 1067, 90*time.Minute, "pi.home.arpa"
	want.DHCP.Mode, want.DHCP.Discovered, want.DHCP.ReplyDelay = Pool, Boot, 1500*time.Millisecond
	want.DHCP.Pool = Range{addr("10.0.0.11"), addr("10.0.0.99")}
	want.DHCP.Addresses = Range{addr("10.0.0.9"), addr("10.0.0.10")}
	want.DHCP.Router, want.DHCP.DNS = addr("10.0.0.1"), []netip.Addr{addr("10.0.0.1"), addr("9.9.9.9")}
	want.NFS.Driver = Kernel
	want.NFS.Port, want.NFS.PortmapPort, want.NFS.PrivilegedPort = 20049, 0, true
	want.Roots.MinFree = 2000
	want.Queue.URL, want.Queue.Credentials = "nats://10.0.0.2:4222,tls://nats.home.arpa", "/etc/nats.toml"
	want.Boot.GPUMem, want.Boot.Args = 128, []string{"quiet", "cma=128M", "isolcpus=1,2"}
	want.HTTP.UploadTokenFile, want.HTTP.UploadMaxGB = "/etc/token", 7
	want.HTTP.Names = []string{"nas.example.org", "my_nas"}
	want.HTTP.Muxers = []netip.Addr{addr("10.0.0.5")}
	want.Media.TidyAfter = 72 * time.Hour
	want.Webhook.URL, want.Webhook.SecretFile = "https://cms.example/hook?a=b", "/etc/secret"
	want.Media.Inbox, want.Media.InboxMakes = "new/videos", MakesAuthor
	want.Media.Dir, want.Log.Level = "/srv/video", slog.LevelDebug
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Load =\n%+v; want\n%+v", got, want)
	}
	// What text writes reads back as the same.
	var again strings.Builder
	for _, k := range keys(&got) {
		again.WriteString(k.path() + " = " + k.value.text() + "\n")
	}
	if got, err := Load(write(t, again.String())); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Load(%s) = %+v, %v; want the same again", again.String(), got, err)
	}
}

func TestJSON(t *testing.T) {
	c := Default()
	c.StateDir, c.DHCP.DNS = "/srv/a\"\x7f", []netip.Addr{addr("10.0.0.1"), addr("9.9.9.9")}
	got, err := json.Marshal(c)
	const want = `{"boot":{"args":[],"gpu_mem":192,"ip":"static"},` +
		`"dhcp":{"addresses":"","discovered":"note","dns":["10.0.0.1","9.9.9.9"],"domain":"","lease":"12h","mode":"reservation","pool":"","port":67,"reply_delay":"1s","router":"","subnets":[]},` +
		`"http":{"insecure_login":false,"muxers":[],"names":[],"port":8080,"public":"media","public_metrics":true,"public_program":true,"session":"168h","tls_cert_file":"","tls_key_file":"","tls_port":8443,"upload_max_gb":100,"upload_token_file":""},"interface":"","live":{"allow":[],"rtmp_port":0},"log":{"level":"info"},"logs":{"board_mb":16,"journal":true,"keep":"720h","netconsole":"","netconsole_port":6666,"syslog_port":514},"media":{"dir":"","inbox":"","inbox_makes":"hls","scratch_gb":50,"tidy_after":"0s","trash_keep":"168h"},` +
		`"nfs":{"driver":"auto","port":2049,"portmap_port":111,"privileged_port":false},"queue":{"credentials":"","keep":1000,"port":4222,"url":""},"roots":{"min_free":0},"socket":"","state_dir":"/srv/a\"\u007f","tftp":{"port":69},"webhook":{"secret_file":"","url":""}}`
	if err != nil || string(got) != want {
		t.Errorf("JSON = %s, %v; want %s", got, err, want)
	}
}

func TestPathsThatFollowFromStateDir(t *testing.T) {
	c := Default()
	c.StateDir = "/srv/pi"
	if c.SocketFile() != "/srv/pi/pibootd.sock" || c.MediaDir() != "/srv/pi/media" {
		t.Errorf("socket %s, media %s; want both in /srv/pi", c.SocketFile(), c.MediaDir())
	}
	c.Socket, c.Media.Dir = "/run/s", "/srv/video"
	if c.SocketFile() != "/run/s" || c.MediaDir() != "/srv/video" {
		t.Errorf("socket %s, media %s; want what was set", c.SocketFile(), c.MediaDir())
	}
}

// Every problem has its exact text. FILE stands for the file's name.
func TestProblems(t *testing.T) {
	const (
		aPort    = "want a port, 1 to 65535"
		anAddr   = `want an IPv4 address, e.g. "192.168.1.1", or ""`
		anAddrs  = `want a list of IPv4 addresses, e.g. ["192.168.1.1"]`
		aRange   = `want two IPv4 addresses, the lower one first, e.g. "192.168.1.200-192.168.1.230"`
		aTime    = `want a time from "2m" to "8760h", e.g. "90s" or "12h"`
		aPath    = `want an absolute path, e.g. "/srv/pibootd"`
		aLink    = `want the name of a network interface, at most 15 letters, e.g. "eth0"`
		aDomain  = `want a domain name, e.g. "home.arpa", or ""`
		aServer  = `want one URL or several with commas, without a password, e.g. "nats://10.0.0.2:4222", or ""`
		aLevel   = `want "debug", "info", "warn" or "error"`
		theNames = `want a list of host names without ports, e.g. ["nas.example.org"]`
		aMemory  = `want megabytes, 16 to 512`
		kernel   = `want a list of "key" or "key=value" without white space and quotes, at most 256 bytes in all, no --, none of root, rootfstype, rootflags, nfsroot, ip, BOOTIF, ro, rw, fsck.repair, muxid, muxhwdec, init, which are pibootd's own`
		topLevel = "no such key; want one of interface, state_dir, socket, or a section"
		dhcpKeys = "no such key; want one of port, mode, pool, discovered, reply_delay, addresses, lease, router, dns, subnets, domain"
		sections = "no such section; want one of [dhcp], [tftp], [nfs], [queue], [http], [roots], [boot], [media], [live], [webhook], [logs], [log]"
	)
	for in, want := range map[string]string{
		"[dhcp]\nport = 70000":       "FILE:2: dhcp.port: 70000; " + aPort,
		"[dhcp]\nport = 0":           "FILE:2: dhcp.port: 0; " + aPort,
		"tftp.port = -1":             "FILE:1: tftp.port: -1; " + aPort,
		`http.names = "nas"`:         `FILE:1: http.names: "nas"; ` + theNames,
		`http.names = ["nas:8080"]`:  `FILE:1: http.names: ["nas:8080"]; ` + theNames,
		`http.names = ["*.example"]`: `FILE:1: http.names: ["*.example"]; ` + theNames,
		`http.names = [""]`:          `FILE:1: http.names: [""]; ` + theNames,
		`http = {port = "80"}`:       `FILE:1: http.port: "80"; ` + aPort,
		"queue.port = 1.5":           "FILE:1: queue.port: 1.5; " + aPort,
		"queue.port = 4222222222222": "FILE:1: queue.port: 4222222222222; " + aPort,
		"nfs.port = true":            "FILE:1: nfs.port: true; " + aPort,
		"roots.min_free = -1":        "FILE:1: roots.min_free: -1; want megabytes, 0 to 100000000",
		"roots.min_free = 0.5":       "FILE:1: roots.min_free: 0.5; want megabytes, 0 to 100000000",
		"nfs.portmap_port = -1":      "FILE:1: nfs.portmap_port: -1; want a port, 1 to 65535, or 0 for no portmapper",

		`nfs.driver = "nfsd"`: `FILE:1: nfs.driver: "nfsd"; want "auto", "embedded" or "kernel"`,
		"nfs.driver = 1":      `FILE:1: nfs.driver: 1; want "auto", "embedded" or "kernel"`,

		`dhcp.mode = "isc"`:                                     `FILE:1: dhcp.mode: "isc"; want "reservation", "pool" or "proxy"`,
		`dhcp.discovered = true`:                                `FILE:1: dhcp.discovered: true; want "note" or "boot"`,
		`dhcp.reply_delay = "5s"`:                               `FILE:1: dhcp.reply_delay: "5s"; want a time from "1ms" to "4s", e.g. "90s" or "12h"`,
		"[dhcp]\nmode = \"pool\"":                               `FILE:2: dhcp.pool: ""; want the addresses that mode "pool" leases, two IPv4 addresses, the lower one first, e.g. "192.168.1.200-192.168.1.230"`,
		`dhcp.pool = "10.0.0.1-10.0.0.9"`:                       `FILE:1: dhcp.pool: "10.0.0.1-10.0.0.9"; want "", or dhcp.mode = "pool"`,
		"[dhcp]\nmode = \"pool\"\npool = \"10.0.0.0-10.1.0.0\"": `FILE:3: dhcp.pool: "10.0.0.0-10.1.0.0"; want at most 65536 addresses`,
		"[dhcp]\nmode = \"pool\"\npool = \"10.0.0.1-10.0.0.9\"\naddresses = \"10.0.0.9-10.0.0.20\"": `FILE:3: dhcp.pool: "10.0.0.1-10.0.0.9"; want none of dhcp.addresses, 10.0.0.9-10.0.0.20, which are the boards'`,

		`dhcp.addresses = "10.0.0.9-10.0.0.1"`:                `FILE:1: dhcp.addresses: "10.0.0.9-10.0.0.1"; ` + aRange,
		`dhcp.addresses = "10.0.0.9"`:                         `FILE:1: dhcp.addresses: "10.0.0.9"; ` + aRange,
		`dhcp.addresses = "fd00::1-fd00::2"`:                  `FILE:1: dhcp.addresses: "fd00::1-fd00::2"; ` + aRange,
		`dhcp.addresses = 5`:                                  `FILE:1: dhcp.addresses: 5; ` + aRange,
		`dhcp.lease = "1s"`:                                   `FILE:1: dhcp.lease: "1s"; ` + aTime,
		`dhcp.lease = "9000h"`:                                `FILE:1: dhcp.lease: "9000h"; ` + aTime,
		`dhcp.lease = 3600`:                                   `FILE:1: dhcp.lease: 3600; ` + aTime,
		`dhcp.router = "router"`:                              `FILE:1: dhcp.router: "router"; ` + anAddr,
		`dhcp.router = "255.255.255.255"`:                     `FILE:1: dhcp.router: "255.255.255.255"; ` + anAddr,
		`dhcp.dns = "9.9.9.9"`:                                `FILE:1: dhcp.dns: "9.9.9.9"; ` + anAddrs,
		"dhcp.dns = [\n  \"9.9.9.9\", # first\n  \"dns\",\n]": `FILE:1: dhcp.dns: [ "9.9.9.9", # first "dns", ]; ` + anAddrs,
		"dhcp.dns = [1]":                                      `FILE:1: dhcp.dns: [1]; ` + anAddrs,
		`dhcp.domain = "a b"`:                                 `FILE:1: dhcp.domain: "a b"; ` + aDomain,
		`dhcp.domain = "a..b"`:                                `FILE:1: dhcp.domain: "a..b"; ` + aDomain,
		`interface = "a/b"`:                                   `FILE:1: interface: "a/b"; ` + aLink,
		`interface = "abcdefghijklmnop"`:                      `FILE:1: interface: "abcdefghijklmnop"; ` + aLink,
		`interface = 1979-05-27`:                              `FILE:1: interface: 1979-05-27; ` + aLink,
		`state_dir = ""`:                                      `FILE:1: state_dir: ""; ` + aPath,
		`state_dir = "state"`:                                 `FILE:1: state_dir: "state"; ` + aPath,
		`socket = "a\u0000b"`:                                 `FILE:1: socket: "a\u0000b"; ` + aPath,
		`webhook.url = "ftp://x/"`:                            `FILE:1: webhook.url: "ftp://x/"; want a URL, e.g. "https://cms.example/hooks/video", or ""`,
		`media.inbox = "hls/x"`:                               `FILE:1: media.inbox: "hls/x"; want a directory in the media share, e.g. "inbox", without hidden parts and not in hls, mp4, mkv, originals, trash, or ""`,
		`media.inbox = "../x"`:                                `FILE:1: media.inbox: "../x"; want a directory in the media share, e.g. "inbox", without hidden parts and not in hls, mp4, mkv, originals, trash, or ""`,
		`queue.url = "http://10.0.0.2"`:                       `FILE:1: queue.url: "http://10.0.0.2"; ` + aServer,
		`queue.url = "nats://a:b@10.0.0.2"`:                   `FILE:1: queue.url: "nats://a:b@10.0.0.2"; ` + aServer,
		`queue.url = "nats://10.0.0.2,"`:                      `FILE:1: queue.url: "nats://10.0.0.2,"; ` + aServer,
		`queue.url = "nats://10.0.0.2"`:                       `FILE:1: queue.url: set; want queue.credentials too`,
		`queue.credentials = "/etc/nats.toml"`:                `FILE:1: queue.credentials: set; want queue.url too`,
		`media.dir = "videos"`:                                `FILE:1: media.dir: "videos"; ` + aPath,
		"boot.gpu_mem = 1024":                                 `FILE:1: boot.gpu_mem: 1024; ` + aMemory,
		`boot.args = "quiet"`:                                 `FILE:1: boot.args: "quiet"; ` + kernel,
		`boot.args = ["a b"]`:                                 `FILE:1: boot.args: ["a b"]; ` + kernel,
		`boot.args = ["root=/dev/sda"]`:                       `FILE:1: boot.args: ["root=/dev/sda"]; ` + kernel,
		`boot.args = ["--"]`:                                  `FILE:1: boot.args: ["--"]; ` + kernel,
		`boot.args = ["a\nb"]`:                                `FILE:1: boot.args: ["a\nb"]; ` + kernel,
		`log.level = "INFO"`:                                  `FILE:1: log.level: "INFO"; ` + aLevel,
		`log.level = [["a"], {b = "c"}]`:                      `FILE:1: log.level: [["a"], {b = "c"}]; ` + aLevel,
		"state_dir = '" + long(100) + "'":                     "FILE:1: state_dir: '" + long(59) + "...; " + aPath,

		"prot = 1":                    "FILE:1: prot: " + topLevel,
		"dhcp.prot = 1":               "FILE:1: dhcp.prot: " + dhcpKeys,
		"[dhcp]\nprot = 1":            "FILE:2: dhcp.prot: " + dhcpKeys,
		"dhcp = { prot = 1 }":         "FILE:1: dhcp.prot: " + dhcpKeys,
		"dhcp = 1":                    "FILE:1: dhcp: " + dhcpKeys,
		"dhcp.port.x = 1":             "FILE:1: dhcp.port.x: " + dhcpKeys,
		`"dhcp.port" = 1`:             `FILE:1: "dhcp.port": ` + topLevel,
		`"" = 1`:                      `FILE:1: "": ` + topLevel,
		"[dchp]\nport = 1\nx = 2":     "FILE:1: [dchp]: " + sections,
		"[[dhcp]]\nport = 1":          "FILE:1: [[dhcp]]: " + sections,
		"[dhcp.port]":                 "FILE:1: [dhcp.port]: " + sections,
		"socket = ''\n\nsocket = ''":  "FILE:3: socket: set again, first in line 1; want each key once",
		"dhcp.port=1\n[dhcp]\nport=2": "FILE:3: dhcp.port: set again, first in line 1; want each key once",
		"[log]\n[tftp]\n[log]":        "FILE:3: [log]: again, first in line 1; want each section once",

		"[http]\nport = 4222":                       "FILE:2: http.port: 4222, as queue.port; want a port that nothing else has",
		"[queue]\nport = 8080":                      "FILE:2: queue.port: 8080, as http.port; want a port that nothing else has",
		"[tftp]\nport = 7\n[dhcp]\nport = 7":        "FILE:4: dhcp.port: 7, as tftp.port; want a port that nothing else has",
		"[nfs]\nport = 7\nportmap_port = 7":         "FILE:3: nfs.portmap_port: 7, as nfs.port; want a port that nothing else has",
		"live.rtmp_port = 8080":                     "FILE:1: live.rtmp_port: 8080, as http.port; want a port that nothing else has",
		"tftp.port = 111":                           "FILE:1: tftp.port: 111, as nfs.portmap_port; want a port that nothing else has",
		"socket = /run/s":                           "FILE:1: syntax: unexpected character U+002F '/' at start of value; want TOML, as key = value",
		"socket = ''\nlease = 12h\n":                "FILE:2: syntax: strings must be quoted; want TOML, as key = value",
		"[dhcp]\nport = 067":                        "FILE:2: syntax: integers cannot have leading zeroes; want TOML, as key = value",
		"[dhcp\nport = 1":                           "FILE:1: syntax: expected ']' to close table name; want TOML, as key = value",
		"socket = \"\n\"":                           "FILE:1: syntax: basic strings cannot have new lines; want TOML, as key = value",
		"\n\n[dhcp]\ndns = [":                       "FILE:4: syntax: array is incomplete; want TOML, as key = value",
		"boot.gpu_mem = 1\nprot = 1\n[x]\nsocket =": "FILE:1: boot.gpu_mem: 1; " + aMemory + "\nFILE:2: prot: " + topLevel + "\nFILE:3: [x]: " + sections + "\nFILE:4: syntax: expected value, not end of input; want TOML, as key = value",
	} {
		file := write(t, in)
		_, err := Load(file)
		if err == nil {
			t.Errorf("Load(%q) = nil; want\n%s", in, want)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), file, "FILE"); got != want {
			t.Errorf("Load(%q) =\n%s; want\n%s", in, got, want)
		}
	}
}

// The same port over another transport is no clash.
func TestPortsOfTwoTransports(t *testing.T) {
	c, err := Load(write(t, "tftp.port = 8080\ndhcp.port = 4222"))
	if err != nil || c.TFTP.Port != 8080 {
		t.Errorf("Load = %v; want UDP 8080 beside TCP 8080", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of a missing file = %v; want %v", err, fs.ErrNotExist)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("Load of a directory = nil; want an error")
	}
	_, err := Load(write(t, strings.Repeat("#\n", maxFile/2)+"#"))
	if err == nil || !strings.Contains(err.Error(), "more than 262144 bytes") {
		t.Errorf("Load of a large file = %v; want it refused", err)
	}
}

// Whatever stands in the file, Load returns a configuration that holds what
// Config promises, or an error that names the line.
func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte("a = {b = [1, {c = '''\n'''}]}\n\"\" = nan\n[[x.\"y\"]]\nd = 1979-05-27T07:32:00Z"))
	f.Add([]byte("dhcp = {port = 1, dns = ['1.1.1.1',]}\r\n\xff"))
	f.Add([]byte("dhcp = "))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("f", data)
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") || !strings.Contains(line, "; want ") {
					t.Errorf("problem %q; want f:line: key: got; want ...", line)
				}
			}
			return
		}
		if !filepath.IsAbs(c.StateDir) || c.HTTP.Port < 1 || c.HTTP.Port > maxPort || c.DHCP.Lease < minLease {
			t.Errorf("parse(%q) = %+v; want what the keys accept", data, c)
		}
	})
}

func TestCheckDHCP(t *testing.T) {
	own := netip.MustParsePrefix("10.0.0.1/24")
	boards := UpperQuarter(own)
	for pool, want := range map[string]string{
		"10.0.0.2-10.0.0.191": "",
		"10.0.0.2-10.0.0.192": "dhcp.pool: 10.0.0.2-10.0.0.192; want none of the boards' addresses, 10.0.0.192-10.0.0.254 (dhcp.addresses)",
		"10.0.0.1-10.0.0.9":   "dhcp.pool: 10.0.0.1-10.0.0.9; want a range without 10.0.0.1, this machine's own address",
		"10.0.1.1-10.0.1.9":   "dhcp.pool: 10.0.1.1-10.0.1.9; want addresses of the interface's network, 10.0.0.1-10.0.0.254",
	} {
		c := Default()
		c.DHCP.Mode = Pool
		c.DHCP.Pool, _ = parseRange(pool)
		got := ""
		if err := c.CheckDHCP(own, boards); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("CheckDHCP of %s = %q; want %q", pool, got, want)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pibootd.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func long(n int) string { return strings.Repeat("x", n) }
