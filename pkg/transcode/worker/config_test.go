package worker

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

const goodConfig = `{"name":"10000000abcd0001","token":"secret","queue_url":"nats://10.0.0.1:4222","server":"10.0.0.1","media_export":"/media","nfs_port":2049}`

func TestLoadConfig(t *testing.T) {
	path := written(t, "worker.json", goodConfig)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(path)
	want := Config{Name: "10000000abcd0001", Token: "secret", QueueURL: "nats://10.0.0.1:4222", Server: netip.MustParseAddr("10.0.0.1"), MediaExport: "/media", NFSPort: 2049}
	if err != nil || got != want {
		t.Errorf("LoadConfig = %+v, %v; want %+v", got, err, want)
	}
	const options = "addr=10.0.0.1,vers=3,proto=tcp,port=2049,mountport=2049,mountproto=tcp,nolock,hard,rsize=1048576,wsize=1048576"
	if got := (mountedShare{got}).mountOptions(); got != options {
		t.Errorf("mountOptions = %s; want %s", got, options)
	}
	got.NFSPort = 0
	const noPorts = "addr=10.0.0.1,vers=3,proto=tcp,mountproto=tcp,nolock,hard,rsize=1048576,wsize=1048576"
	if got := (mountedShare{got}).mountOptions(); got != noPorts {
		t.Errorf("mountOptions without a port = %s; want %s", got, noPorts)
	}
}

func TestLoadConfigReadableByOthers(t *testing.T) {
	path := written(t, "worker.json", goodConfig)
	if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("LoadConfig = %v; want that others can read the token", err)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no JSON", "name = x", "it is not a JSON object of known keys: invalid character 'a' in literal null (expecting 'u')"},
		{"unknown key", `{"nam":"x"}`, `it is not a JSON object of known keys: json: unknown field "nam"`},
		{"empty", "{}", `name: ""; want 1 to 64 letters, digits, dashes and underscores
token: empty; want the one that pibootd gave this worker
queue_url: ""; want e.g. nats://10.0.0.1:4222
server: missing; want the address of the media share, e.g. 10.0.0.1
media_export: ""; want an absolute path, e.g. /media`},
		{"name of two tokens", strings.Replace(goodConfig, "10000000abcd0001", "a.b", 1), `name: "a.b"; want 1 to 64 letters, digits, dashes and underscores`},
		{"port", strings.Replace(goodConfig, "2049", "65536", 1), "nfs_port: 65536; want 1 to 65535, or 0 to ask the portmapper"},
		{"relative directory", `{"name":"a","token":"b","queue_url":"nats://c","media_dir":"media"}`, `media_dir: "media"; want an absolute path`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseConfig([]byte(tt.text)); err == nil || err.Error() != tt.want {
				t.Errorf("parseConfig = %v\n want %s", err, tt.want)
			}
		})
	}
}

func TestParseBoot(t *testing.T) {
	tests := []struct {
		line string
		want Boot
		bad  bool
	}{
		{"console=ttyAMA0 root=/dev/nfs muxid=7 muxhwdec=1\n", Boot{MuxID: 7, HWDecode: true}, false},
		{"root=/dev/nfs muxhwdec=0", Boot{}, false},
		{"", Boot{}, false},
		{"muxid=seven", Boot{}, true},
		{"muxid=0", Boot{}, true},
		{"muxid", Boot{}, true},
	}
	for _, tt := range tests {
		if got, err := parseBoot(tt.line); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("parseBoot(%q) = %+v, %v; want %+v, an error: %v", tt.line, got, err, tt.want, tt.bad)
		}
	}
}
