package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// ConfigPath is where a board's configuration lies.
const ConfigPath = "/etc/pibootd/worker.json"

const maxConfigBytes = 64 << 10

// A Config tells a worker who it is and where its server is.
type Config struct {
	Name        string     `json:"name"` // in every subject; letters, digits, dashes and underscores
	Token       string     `json:"token"`
	QueueURL    string     `json:"queue_url"` // e.g. nats://10.0.0.1:4222
	Server      netip.Addr `json:"server"`    // of the media share
	MediaExport string     `json:"media_export"`
	NFSPort     int        `json:"nfs_port"` // of NFS and MOUNT alike; 0: the server's portmapper names them
	// MediaDir is a directory that is the media share already, where nothing
	// has to be mounted. Server, MediaExport and NFSPort are unused then.
	MediaDir string `json:"media_dir,omitempty"`
}

// LoadConfig reads and checks a configuration file. It refuses one that others
// than its owner can read, for the token's sake.
func LoadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Config{}, fmt.Errorf("%s: mode is %v; want -rw------- because of the token (chmod 600 %s)", path, info.Mode(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes))
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	config, err := parseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

func parseConfig(text []byte) (Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("it is not a JSON object of known keys: %w", err)
	}
	return c, c.check()
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// validUnitID keeps a unit within its attempt's directory.
var validUnitID = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)

// check reports every problem of c at once.
func (c Config) check() error {
	var problems []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	want(validName.MatchString(c.Name), "name: %q; want 1 to 64 letters, digits, dashes and underscores", c.Name)
	want(c.Token != "", "token: empty; want the one that pibootd gave this worker")
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

// A Boot is what the kernel command line says about a worker.
type Boot struct {
	MuxID    int  // muxid=, 0 if not given
	HWDecode bool // muxhwdec=1
}

// ReadBoot reads a kernel command line, which is /proc/cmdline.
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
