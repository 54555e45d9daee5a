package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// A network passes connections on to a server until it is cut: some connections
// are reset then, the others hang, and so do new ones until it is mended.
type network struct {
	listen net.Listener
	random *rand.Rand

	mu    sync.Mutex
	to    string
	conns []net.Conn    // of both sides
	whole chan struct{} // closed while the network is
	pipes sync.WaitGroup
}

func newNetwork(t *testing.T, to string, random *rand.Rand) *network {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{to: to, listen: l, random: random, whole: make(chan struct{})}
	close(n.whole)
	n.pipes.Go(n.serve)
	t.Cleanup(func() {
		l.Close()
		n.mend()
		n.reset(func() bool { return true })
		n.pipes.Wait()
	})
	return n
}

func (n *network) addr() netip.AddrPort { return n.listen.Addr().(*net.TCPAddr).AddrPort() }

func (n *network) serve() {
	for {
		near, err := n.listen.Accept()
		if err != nil {
			return
		}
		<-n.state()
		far, err := net.Dial("tcp", n.server())
		if err != nil {
			near.Close()
			continue
		}
		n.mu.Lock()
		n.conns = append(n.conns, near, far)
		n.mu.Unlock()
		n.pipes.Go(func() { n.pass(near, far) })
		n.pipes.Go(func() { n.pass(far, near) })
	}
}

// pass copies what comes from one side while the network is whole.
func (n *network) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		read, err := from.Read(buf)
		<-n.state()
		if _, writeErr := to.Write(buf[:read]); err != nil || writeErr != nil {
			return
		}
	}
}

func (n *network) state() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.whole
}

func (n *network) server() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.to
}

// lead has new connections go to another server.
func (n *network) lead(to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to = to
}

// cut stops everything; every other connection is reset.
func (n *network) cut() {
	n.mu.Lock()
	n.whole = make(chan struct{})
	n.mu.Unlock()
	n.reset(func() bool { return n.random.IntN(2) == 0 })
}

func (n *network) reset(which func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		if which() {
			c.Close()
		}
	}
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.whole:
	default:
		close(n.whole)
	}
}

// The network between workers and queue is cut again and again, at random
// points: the job is done all the same, and what it publishes is whole.
func TestNetworkCut(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=160x128:r=10:d=24 -f lavfi -i sine=440:d=24 "+x264+"-c:a aac")
	for seed := range networkSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := newQueue(t, testLog(t))
			c.provide("a.mp4", source)
			random := rand.New(rand.NewPCG(uint64(seed), 2))
			n := newNetwork(t, c.addr.String(), random)
			c.addr = n.addr()
			for i := range 2 {
				w := &Worker{Config: c.config(fmt.Sprintf("worker%d", i))}
				w.pace.fetch, w.pace.refusal = time.Second, 10*time.Millisecond
				startWorker(t, w)
			}
			job := c.submit(transcode.Request{Source: "a.mp4", SegmentSeconds: 1})
			ctx, end := context.WithCancel(t.Context())
			var cutting sync.WaitGroup
			cutting.Go(func() { n.trouble(ctx) })
			job = c.waitEnd(job)
			end()
			cutting.Wait()
			if job.State != queue.Done {
				t.Fatalf("job is %s: %s; want it done", job.State, job.Reason)
			}
			c.checkPublished(job, 240)
			c.checkSwept()
		})
	}
}

// trouble cuts the network now and then until ctx ends, and leaves it whole.
func (n *network) trouble(ctx context.Context) {
	defer n.mend()
	for range networkCuts {
		if !pause.For(ctx, time.Duration(n.random.IntN(500))*time.Millisecond) {
			return
		}
		n.cut()
		if !pause.For(ctx, time.Duration(n.random.IntN(500))*time.Millisecond) {
			return
		}
		n.mend()
	}
}

// checkPublished makes sure that a player finds every frame of every rendition,
// as the hashes that were accepted say.
func (c *cluster) checkPublished(job queue.Job, frames int) {
	c.Helper()
	for _, r := range []string{"128p", "64p"} {
		out := ffmpegRun(c.T, c.media, "ffmpeg", "-v", "error", "-i", path.Join(path.Dir(job.Output), r, transcode.MediaName), "-f", "framecrc", "-")
		got := 0
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "#") {
				got++
			}
		}
		if got != frames {
			c.Errorf("%s of %s has %d frames; want %d", r, job.Output, got, frames)
		}
	}
}
