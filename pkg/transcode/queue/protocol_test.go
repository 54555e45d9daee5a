package queue

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
)

// oldHello is what the worker of commit b738a06 says.
var oldHello = map[string]any{
	"hostname": "hlspi1", "version": "b738a06", "arch": "arm64", "ffmpeg": "5.1.6", "cpus": 4, "memory": 1 << 30,
	"mux_id": 0, "hw_decode": false, "encoders": []string{transcode.EncoderX264}, "decoders": []string{},
}

// A worker of another build would put its files where they do not belong: it gets
// no work, and everybody sees why, until it comes as one of this build.
func TestWorkersOfOtherBuildsGetNoWork(t *testing.T) {
	t.Parallel()
	broker, err := broker.Start(broker.Options{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: t.TempDir(), Authenticate: func(name, token string) bool { return token == goodToken(name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, newDirs(t), func(o *Options) { o.Broker = broker })
	b.submit(fixtureRequest)
	const ours = transcode.Protocol
	for _, tt := range []struct {
		name  string
		hello map[string]any
		want  string
	}{
		{"3333347a", oldHello, fmt.Sprintf("restart the board: its worker is older than pibootd (protocol 0; want %d)", ours)},
		{"desk-pc", oldHello, fmt.Sprintf("replace pibootd-worker by this pibootd's: its worker is older than pibootd (protocol 0; want %d)", ours)},
		{"00000001", with(oldHello, "protocol", 1), fmt.Sprintf("restart the board: its worker is older than pibootd (protocol 1; want %d)", ours)},
		{"00000002", with(oldHello, "protocol", ours+1), fmt.Sprintf("upgrade pibootd: its worker is newer than pibootd (protocol %d; want %d)", ours+1, ours)},
		{"00000003", with(oldHello, "protocol", -1), fmt.Sprintf("restart the board: its worker is older than pibootd (protocol -1; want %d)", ours)},
	} {
		m := b.connect(tt.name)
		var reply transcode.HelloReply
		for range 2 { // it repeats it
			m.ask(transcode.SubjectHello, tt.hello, &reply)
		}
		if !reply.Drain {
			t.Errorf("%s is not asked to take no work", tt.name)
		}
		if claim := m.claim(); claim.Refused != tt.want || claim.Attempt != 0 || claim.Gone {
			t.Errorf("claim of %s: %+v; want it refused: %s", tt.name, claim, tt.want)
		}
		if w, ok := b.workers.get(tt.name); !ok || w.Hello.Locked != tt.want || w.free() {
			t.Errorf("%s is %+v; want it locked: %s", tt.name, w, tt.want)
		}
		if e := <-b.comes; !e.Online || e.Hello.Locked != tt.want {
			t.Errorf("%s comes with %+v; want to be told: %s", tt.name, e, tt.want)
		}
	}
	// The board was restarted before it was missed.
	m := b.join("3333347a", transcode.Hello{})
	if e := <-b.comes; e.Worker != "3333347a" || e.Hello.Locked != "" {
		t.Errorf("after the restart: %+v; want that it is as it should be", e)
	}
	m.do()
	if len(b.comes) > 0 {
		t.Errorf("one more has come: %+v; want each told once", <-b.comes)
	}
}

// Who has not said what it speaks gets no work either.
func TestAClaimWithoutHelloIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	b.submit(fixtureRequest)
	if claim := b.connect("pi1").claim(); !strings.Contains(claim.Refused, "has not said hello") || claim.Gone {
		t.Errorf("claim: %+v; want it refused until it says hello", claim)
	}
	b.join("pi1", transcode.Hello{}).do()
}

func with(hello map[string]any, key string, value any) map[string]any {
	m := maps.Clone(hello)
	m[key] = value
	return m
}
