package fleet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// A board that runs on with the worker of an older pibootd has it on its timeline
// that it is to be restarted, once.
func TestABoardWithAnOldWorkerIsToBeRestarted(t *testing.T) {
	known, events := openRegistry(t)
	board := registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.0.0.11"),
		Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64},
	}
	if _, err := known.Add(t.Context(), board, queuetest.Token); err != nil {
		t.Fatal(err)
	}
	f := New(Fleet{Registry: known, Timeline: events})
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.OnWorker = f.WorkerEvent })
	conn, err := nats.Connect(q.Broker.URL(), nats.UserInfo("3333347a", queuetest.Token), nats.CustomInboxPrefix("_INBOX.3333347a"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, hello := range []string{
		`{"hostname":"hlspi1","version":"b738a06","cpus":4}`,
		`{"hostname":"hlspi1","version":"b738a06","cpus":4}`,
		fmt.Sprintf(`{"hostname":"hlspi1","version":"new","cpus":4,"protocol":%d}`, transcode.Protocol),
	} {
		if _, err := conn.Request(transcode.SubjectHello+".3333347a", []byte(hello), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for e, err := range events.Follow(t.Context(), "3333347a", 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join(strings.Fields(e.String())[1:], " "))
		if strings.Contains(e.Detail, "new") {
			break
		}
	}
	want := []string{
		"hlspi1 online worker b738a06, 4 CPUs",
		fmt.Sprintf("hlspi1 outdated restart the board: its worker is older than pibootd (protocol 0; want %d)", transcode.Protocol),
		"hlspi1 online worker new, 4 CPUs",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("its timeline has\n%q; want\n%q", got, want)
	}
}
