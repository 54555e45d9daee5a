package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// rank orders our packages: each may import only packages of a lower rank.
// docs/architecture.md says why each stands where it does.
var rank = map[string]int{
	"images":                1, // speaks of pi.Arch
	"internal/durable":      0,
	"internal/pause":        0,
	"internal/turns":        0,
	"pkg/pi":                0,
	"pkg/store":             0,
	"pkg/netlab":            1, // speaks of pi.MAC
	"pkg/netlab/netlabtest": 2, // tests alone
	"pkg/bootconfig":        1,
	"pkg/config":            1,
	"pkg/timeline":          2,
	"pkg/dhcp":              2,
	"pkg/tftp":              2,
	"pkg/nfs":               2,
	"pkg/nfs/rpc":           1,
	"pkg/nfs/probe":         1,
	"pkg/nfs/nfsd":          3,
	"pkg/registry":          2,
	"pkg/transcode":         1,
	"pkg/boot":              3,
	"pkg/virtualpi":         3,
	"pkg/nfs/linuxclient":   3, // tests alone
	"pkg/fleet":             4,
	"pkg/share":             0,
	"pkg/doctor":            5,
	"pkg/web":               6,
	"pkg/daemon":            7,
	"cmd/pibootd":           8,
	"cmd/pibootd-worker":    7,

	"pkg/transcode/broker":          2,
	"pkg/transcode/broker/natstest": 0, // tests alone
	"pkg/transcode/hls":             2,
	"pkg/transcode/mediafile":       0,
	"pkg/transcode/muxer":           4,
	"pkg/transcode/queue":           3,
	"pkg/transcode/queue/queuetest": 4, // tests alone
	"pkg/transcode/tidy":            4,
	"pkg/transcode/watchfolder":     4,
	"pkg/transcode/webhook":         4,
	"pkg/transcode/worker":          3,

	"pkg/rootfs/confine":   0,
	"pkg/rootfs/disk":      1,
	"pkg/rootfs/archive":   2,
	"pkg/rootfs/mount":     0,
	"pkg/rootfs/sshkeys":   1,
	"pkg/rootfs/progress":  0,
	"pkg/rootfs/stage":     1,
	"pkg/rootfs/filetree":  1,
	"pkg/rootfs/bootcheck": 2, // speaks of bootconfig
	"pkg/rootfs/debian":    2,
	"pkg/rootfs/adapt":     2,
	"pkg/rootfs/roottest":  0, // tests alone
	"pkg/rootfs":           3,
}

func TestImportsPointDown(t *testing.T) {
	const format = `{{.Module.Path}}/ {{.ImportPath}}{{range .Imports}} {{.}}{{end}}`
	out, err := exec.Command("go", "list", "-tags", "netns,e2e,soak", "-f", format, "../../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(fields[1], fields[0])
		r, ok := rank[from]
		if !ok || !strings.Contains(string(listed), "`"+from+"`") {
			t.Errorf("%s has no rank, or no line in docs/architecture.md: add it in both places", from)
		}
		for _, imported := range fields[2:] {
			if to, ours := strings.CutPrefix(imported, fields[0]); ours && rank[to] >= r {
				t.Errorf("%s must not import %s", from, to)
			}
		}
	}
}

// Workers are what the boards run: small, and with nothing of the daemon in
// them.
func TestWorkerIsSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../pibootd-worker").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"github.com/nats-io/nats-server", "modernc.org/sqlite", "pibootd/pkg/store"} {
		if strings.Contains(string(out), heavy) {
			t.Errorf("pibootd-worker depends on %s; want a client only", heavy)
		}
	}
}

func TestDependenciesAreExplained(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	explained, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if !strings.Contains(string(explained), "| "+path+" |") {
			t.Errorf("docs/dependencies.md has no line for %s", path)
		}
	}
}
