package doctor

import (
	"strings"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

func TestTrip(t *testing.T) {
	const loaded = "discover offer request ack file file_missing file "
	for name, test := range map[string]struct {
		events string // "/" is three minutes of silence
		want   string
	}{
		"no boot code answers":     {"discover discover", "asked for an address"},
		"another server was first": {"discover offer request", "asked for an address and got none"},
		"no files asked for":       {"discover offer request ack", "got its address"},
		"a file fails, then again": {"discover offer ack file_failed discover offer ack", "got its address"},
		"the kernel hangs":         {loaded, "loaded a file"},
		"the kernel's DHCP":        {loaded + "discover offer request", "loaded its kernel, which asked for an address and got none"},
		"the kernel's mount":       {loaded + "discover offer request ack", "loaded its kernel, which got its address"},
		"off and on":               {loaded + "discover offer request ack / discover", "asked for an address"},
		"refused":                  {loaded + "discover offer request ack mount_refused discover offer", "was refused its root"},
		"the system's DHCP":        {loaded + "ack mount discover offer request ack", "mounted its root"},
		"a lease prolonged":        {loaded + "ack mount worker_online / request ack", "reported its worker"},
		"a worker that died":       {loaded + "ack mount worker_online / worker_offline / request ack", "lost its worker"},
		"a reboot":                 {loaded + "ack mount worker_online / worker_offline discover", "asked for an address"},
		"power-cycled":             {loaded + "ack mount worker_online / discover", "asked for an address"},
		"work is no step":          {loaded + "ack mount worker_online claimed unit_done changed", "reported its worker"},
	} {
		at, trip := time.Now(), trip{}
		for kind := range strings.FieldsSeq(test.events) {
			if kind == "/" {
				at = at.Add(3 * time.Minute)
				continue
			}
			at = at.Add(time.Second)
			trip = trip.follow(timeline.Event{At: at, Kind: timeline.Kind(kind)})
		}
		if got := trip.step().did; got != test.want {
			t.Errorf("%s: it %s; want %s", name, got, test.want)
		}
	}
}

func TestWorking(t *testing.T) {
	board := registry.Pi{Serial: pi.Serial(0x3333347a), Name: "hlspi1"}
	for name, test := range map[string]struct {
		hello transcode.Hello
		level Level
		text  string
	}{
		"at work":    {transcode.Hello{FFmpeg: "5.1.6"}, OK, "its worker is online, with ffmpeg 5.1.6"},
		"just begun": {transcode.Hello{}, OK, "its worker is online"},
		"locked":     {transcode.Hello{FFmpeg: "5.1.6", Locked: "/home/pi/hlsmux.lock is there"}, Warning, "its worker is online and refuses work: /home/pi/hlsmux.lock is there"},
	} {
		if f := working(board, queue.Worker{Online: true, Hello: test.hello}); f.Level != test.level || f.Text != test.text || f.Subject != "hlspi1" {
			t.Errorf("%s: %+v; want %s of hlspi1, %q", name, f, test.level, test.text)
		}
	}
}
