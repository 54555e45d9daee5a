// Package config reads, checks and documents pibootd's configuration file, a
// TOML file in which every key is optional.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// A Config is pibootd's configuration. Example documents the keys of the file;
// the comments here say what Go code needs to know.
type Config struct {
	Interface string // serve's --interface overrides it; "" if neither is given
	StateDir  string // absolute
	Socket    string // see SocketFile

	DHCP struct {
		Port       int
		Mode       DHCPMode
		Addresses  Range // zero: UpperQuarter of the interface's network
		Pool       Range // not zero in Pool mode alone
		Discovered Discovered
		ReplyDelay time.Duration
		Lease      time.Duration
		Router     netip.Addr // zero: boards get none
		DNS        []netip.Addr
		Domain     string // "": boards get none
		Subnets    []Subnet
	}
	TFTP struct {
		Port int
	}
	NFS struct {
		Driver      Driver
		Port        int
		PortmapPort int // 0: no portmapper

		PrivilegedPort bool // boards' calls have to come from a port below 1024
	}
	Queue struct {
		Port        int    // not opened if there is a URL
		URL         string // of external servers, comma-separated; "": the embedded one
		Credentials string // a file; "" if URL is
		Keep        int    // ended jobs that are remembered
	}
	HTTP struct {
		Port   int
		Names  []string     // by which clients reach it, besides this machine's own
		Muxers []netip.Addr // legacy muxers; nil: their protocol is not spoken

		Public        Public // what nobody has to log in for
		PublicMetrics bool   // /metrics needs no login either
		PublicProgram bool   // nor does the worker's program

		TLSPort       int    // 0: none
		TLSCertFile   string // "": a self-signed certificate
		TLSKeyFile    string // "" if TLSCertFile is
		InsecureLogin bool   // passwords are accepted over plain HTTP
		Session       time.Duration

		UploadTokenFile string // "": no uploads over TCP without another token
		UploadMaxGB     int    // of one upload
	}
	Roots struct {
		MinFree int // MB; 0: what rootfs.Roots takes
	}
	Boot struct {
		GPUMem int // MB
		IP     BootIP
		Args   []string // kernel arguments, each k or k=v
	}
	Media struct {
		Dir        string // see MediaDir
		Inbox      string // in MediaDir; "": none is watched
		InboxMakes Makes
		TidyAfter  time.Duration // 0: originals stay
		TrashKeep  time.Duration // of deleted videos; 0: until somebody removes them
		ScratchGB  int           // of each board
	}
	Live struct {
		Allow    []netip.Prefix // where sources may be
		RTMPPort int            // for encoders; 0: none
	}
	Webhook struct {
		URL        string // "": nothing is posted
		SecretFile string // "": posts are not signed
	}
	Logs struct { // of boards
		SyslogPort     int // 0: not opened, as is the next
		NetconsolePort int
		Netconsole     string // the device from which kernels send their log; "": they do not
		Journal        bool   // workers send their board's journal
		BoardMB        int    // of each board
		Keep           time.Duration
	}
	Log struct {
		Level slog.Level
	}
}

// A DHCPMode says whom DHCP answers with what.
type DHCPMode string

// The modes.
const (
	Reservation DHCPMode = "reservation" // registered boards, with their address
	Pool        DHCPMode = "pool"        // all others too, with one of a range
	Proxy       DHCPMode = "proxy"       // registered boards, with boot information but no address
)

// A Discovered says what boards that are not registered get.
type Discovered string

// What there is for them.
const (
	Note Discovered = "note" // a place in the list of discovered boards
	Boot Discovered = "boot" // boot information besides, as registered boards get
)

// A Driver says who serves NFS.
type Driver string

// The drivers.
const (
	Auto     Driver = "auto"     // Kernel where nfsd serves NFSv3, else Embedded
	Embedded Driver = "embedded" // pibootd itself
	Kernel   Driver = "kernel"   // this machine's nfsd
)

// A Public says what the HTTP port shows without a login.
type Public string

// What there is to show.
const (
	PublicNone  Public = "none"
	PublicMedia Public = "media" // published videos
	PublicRead  Public = "read"  // the state of everything, too
)

// A BootIP says how boards get their address after the boot ROM.
type BootIP string

// The ways; proxies know only the second.
const (
	StaticIP BootIP = "static" // by the kernel arguments
	DHCPIP   BootIP = "dhcp"   // by asking again
)

// A Makes says what the videos of the watch folder become.
type Makes string

// What there is.
const (
	MakesHLS    Makes = "hls"    // the usual ladder, MPEG-TS
	MakesCMAF   Makes = "cmaf"   // the usual ladder, fragmented MP4
	MakesAuthor Makes = "author" // the ladder of the older pool's muxers
	MakesMP4    Makes = "mp4"
	MakesMKV    Makes = "mkv"
)

// Default returns the configuration of an empty file.
func Default() Config {
	var c Config
	c.StateDir = "/var/lib/pibootd"
	c.DHCP.Port = 67
	c.DHCP.Mode = Reservation
	c.DHCP.Discovered = Note
	c.DHCP.ReplyDelay = time.Second
	c.DHCP.Lease = 12 * time.Hour
	c.TFTP.Port = 69
	c.NFS.Driver = Auto
	c.NFS.Port = 2049
	c.NFS.PortmapPort = 111
	c.Queue.Port = 4222
	c.Queue.Keep = 1000
	c.HTTP.Port = 8080
	c.HTTP.UploadMaxGB = 100
	c.HTTP.Public = PublicMedia
	c.HTTP.PublicMetrics, c.HTTP.PublicProgram = true, true
	c.HTTP.TLSPort = 8443
	c.HTTP.Session = 7 * 24 * time.Hour
	c.Media.TrashKeep = 7 * 24 * time.Hour
	c.Media.ScratchGB = 50
	c.Boot.GPUMem = 192
	c.Boot.IP = StaticIP
	c.Media.InboxMakes = MakesHLS
	c.Logs.SyslogPort = 514
	c.Logs.NetconsolePort = 6666
	c.Logs.Journal = true
	c.Logs.BoardMB = 16
	c.Logs.Keep = 30 * 24 * time.Hour
	c.Log.Level = slog.LevelInfo
	return c
}

// SocketFile returns the path of the socket on which the daemon takes
// commands.
func (c Config) SocketFile() string {
	if c.Socket != "" {
		return c.Socket
	}
	return filepath.Join(c.StateDir, "pibootd.sock")
}

// MediaDir returns the directory of the media share.
func (c Config) MediaDir() string {
	if c.Media.Dir != "" {
		return c.Media.Dir
	}
	return filepath.Join(c.StateDir, "media")
}

// BoardLogBytes is Logs.BoardMB in bytes.
func (c Config) BoardLogBytes() int64 { return int64(c.Logs.BoardMB) * 1e6 }

// ScratchBytes is Media.ScratchGB in bytes.
func (c Config) ScratchBytes() int64 { return int64(c.Media.ScratchGB) * 1e9 }

// MinFreeBytes is Roots.MinFree in bytes.
func (c Config) MinFreeBytes() int64 { return int64(c.Roots.MinFree) * 1e6 }

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 18

// Load reads file. The error lists all that is wrong with it, a line each, in
// the order of the file; one about a missing file matches fs.ErrNotExist.
func Load(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxFile {
		return Config{}, fmt.Errorf("config: %s: more than %d bytes; want a configuration file", file, maxFile)
	}
	return parse(file, data)
}
