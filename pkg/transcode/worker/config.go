package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// ConfigPath is the path of a board's configuration.
const ConfigPath = "/etc/pibootd/worker.json"

const maxConfigBytes = 64 << 10

// A Config is the identity of a worker and the address of its server.
type Config struct {
	Name        string     `json:"name"` // part of every subject; letters, digits, dashes and underscores
	Token       string     `json:"token"`
	QueueURL    string     `json:"queue_url"` // e.g. nats://10.0.0.1:4222
	Server      netip.Addr `json:"server"`    // of the media share
	MediaExport string     `json:"media_export"`
	NFSPort     int        `json:"nfs_port"` // of both NFS and MOUNT; 0: ask the server's portmapper
	// ScratchExport is the export on Server that this worker alone can write. It is
	// empty in a configuration that an earlier pibootd wrote.
	ScratchExport string `json:"scratch_export,omitempty"`
	// MediaDir is a directory that already has the media share, so that nothing has
	// to be mounted. Server, MediaExport and NFSPort are then unused.
	MediaDir string `json:"media_dir,omitempty"`
	// Daemon is the URL at which pibootd serves the media share over HTTP, such as
	// http://10.0.0.1:8080, to a worker that does not mount the share. pibootd also
	// gives the worker the queue's address there. Of the other fields only Name,
	// Token and WorkDir are then used.
	Daemon  string `json:"daemon,omitempty"`
	WorkDir string `json:"work_dir,omitempty"` // holds files until they are sent
}

// LoadConfig reads and checks a configuration file. It refuses a file that others
// than its owner can read, because it contains the token.
func LoadConfig(path string) (Config, error) {
	text, err := ReadPrivate(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	config, err := parseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// ReadPrivate reads a file that contains a token. It refuses a file that others
// than its owner can read.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode is %v; want -rw------- because of the token (chmod 600 %s)", path, info.Mode(), path)
	}
	return io.ReadAll(io.LimitReader(f, maxConfigBytes))
}

func parseConfig(text []byte) (Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("it is not a JSON object of known keys: %w", err)
	}
	return c, c.Check()
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// validUnitID ensures that a unit stays within its attempt's directory.
var validUnitID = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)

// Check reports every problem of c at once.
func (c Config) Check() error {
	var problems []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	want(validName.MatchString(c.Name), "name: %q; want 1 to 64 letters, digits, dashes and underscores", c.Name)
	want(c.Token != "", "token: empty; want the one that pibootd gave this worker")
	if c.Daemon != "" {
		_, err := parseDaemon(c.Daemon)
		want(err == nil, "daemon: %w", err)
		want(filepath.IsAbs(c.WorkDir), "work_dir: %q; want an absolute path", c.WorkDir)
		return errors.Join(problems...)
	}
	want(strings.Contains(c.QueueURL, "://"), "queue_url: %q; want e.g. nats://10.0.0.1:4222", c.QueueURL)
	if c.MediaDir != "" {
		want(filepath.IsAbs(c.MediaDir), "media_dir: %q; want an absolute path", c.MediaDir)
		return errors.Join(problems...)
	}
	want(c.Server.IsValid(), "server: missing; want the address of the media share, e.g. 10.0.0.1")
	want(strings.HasPrefix(c.MediaExport, "/"), "media_export: %q; want an absolute path, e.g. /media", c.MediaExport)
	want(c.NFSPort >= 0 && c.NFSPort < 1<<16, "nfs_port: %d; want 1 to 65535, or 0 to ask the portmapper", c.NFSPort)
	return errors.Join(problems...)
}

// parseDaemon parses the address of a daemon: an HTTP URL, or a host with an
// optional port.
func parseDaemon(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	daemon, err := url.Parse(text)
	if err != nil || daemon.Scheme != "http" || daemon.Hostname() == "" || daemon.RawQuery != "" || daemon.User != nil {
		return nil, fmt.Errorf("%.200q; want a host and a port, e.g. http://10.0.0.1:8080", text)
	}
	if daemon.Port() == "" {
		daemon.Host = net.JoinHostPort(daemon.Hostname(), daemonPort)
	}
	return daemon, nil
}

// daemonPort is the port of the default http.port.
const daemonPort = "8080"

// A Boot is the part of the kernel command line that concerns a worker.
type Boot struct {
	MuxID    int  // muxid=; 0 if absent
	HWDecode bool // muxhwdec=1
}

// ReadBoot reads a kernel command line, usually /proc/cmdline.
func ReadBoot(path string) (Boot, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Boot{}, fmt.Errorf("reading the kernel command line: %w", err)
	}
	return parseBoot(string(text))
}

func parseBoot(line string) (Boot, error) {
	var b Boot
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "muxid":
			id, err := strconv.Atoi(value)
			if err != nil || id < 1 {
				return Boot{}, fmt.Errorf("kernel command line: muxid=%q; want a whole number from 1", value)
			}
			b.MuxID = id
		case "muxhwdec":
			b.HWDecode = value == "1"
		}
	}
	return b, nil
}
