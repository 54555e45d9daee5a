// Package worker does units of work: it says hello to the queue, claims a unit, runs
// ffmpeg in a directory of that attempt, inspects the files, and sends their
// description as the result. It knows the queue only by the messages of
// pkg/transcode, and survives restarts of the queue.
package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

// A Worker does one unit at a time: ffmpeg uses all cores by itself. Set its
// fields before Run.
type Worker struct {
	Config  Config
	Boot    Boot
	Version string       // reported to the queue
	Log     *slog.Logger // nil discards
	FFmpeg  string       // the program; "" means ffmpeg, found by PATH
	FFprobe string       // the program; "" means ffprobe, found by PATH
	Own     *OwnLog      // what the worker logs, for the daemon; nil: nothing
	LogRoot string       // of the board whose log is sent, usually /; "": none is sent
	Lock    string       // a file that, while it is there, keeps work away; "" means LockPath

	kmsg     func(name string) (io.ReadCloser, error) // nil opens the file; tests have no kernel
	remote   *remote                                  // nil: the media share is part of the file system
	pace     pace
	floor    int64    // bytes that the media share must have free; 0 means minFreeBytes
	decoders []string // hardware decoders found usable, the best first; written before the first unit
	memory   int64    // bytes that this machine has; 0 asks it
	system   string   // the directory of the system's own files, "" for /
	devices  []string // paths that are taken for the only devices; nil looks for them
}

// A pace is how patient a worker is. Zero fields mean the usual.
type pace struct {
	progress time.Duration // between two Progress messages
	stall    time.Duration // after which a child without progress is killed
	retry    time.Duration // before the first repetition of an unanswered question
	fetch    time.Duration // that one request for work waits
	refusal  time.Duration // before a worker that was refused asks again
	locked   time.Duration // before a worker that may take no work looks again
}

func (w *Worker) progressEvery() time.Duration { return cmp.Or(w.pace.progress, time.Second) }
func (w *Worker) stall() time.Duration         { return cmp.Or(w.pace.stall, 5*time.Minute) }
func (w *Worker) retryAfter() time.Duration    { return cmp.Or(w.pace.retry, 500*time.Millisecond) }
func (w *Worker) fetchWait() time.Duration     { return cmp.Or(w.pace.fetch, 20*time.Second) }
func (w *Worker) refusalDelay() time.Duration  { return cmp.Or(w.pace.refusal, 5*time.Second) }

func (w *Worker) lockedWait() time.Duration { return cmp.Or(w.pace.locked, 5*time.Second) }

func (w *Worker) lockPath() string { return cmp.Or(w.Lock, LockPath) }
func (w *Worker) minFree() int64   { return cmp.Or(w.floor, minFreeBytes) }

func (w *Worker) ffmpeg() string  { return cmp.Or(w.FFmpeg, "ffmpeg") }
func (w *Worker) ffprobe() string { return cmp.Or(w.FFprobe, "ffprobe") }

func (w *Worker) log() *slog.Logger {
	return cmp.Or(w.Log, slog.New(slog.DiscardHandler))
}

// Run works until ctx ends, releases its claim, and returns nil. It returns an error
// only if retrying is useless, for example without ffmpeg.
func (w *Worker) Run(ctx context.Context) error {
	if w.Config.Daemon != "" {
		if err := w.openShare(ctx); err != nil || w.remote == nil {
			return err
		}
		defer w.remote.close()
	}
	s, err := w.connect(ctx)
	if err != nil || s == nil {
		return err
	}
	defer s.nc.Close()

	stopped := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.helloLoop(ctx) })
	g.Go(func() error { s.streamLogs(ctx); return nil })
	g.Go(func() error {
		if err := s.introduce(ctx); err != nil {
			return err
		}
		g.Go(func() error { s.tryMore(ctx); return nil })
		return s.work(ctx)
	})
	err = g.Wait()
	if stopped.Err() != nil {
		s.leave()
	}
	return err
}

// openShare asks the daemon for the media share over HTTP and for the address of the
// queue. It retries until the daemon runs and knows this worker. If ctx ends first,
// w.remote stays nil.
func (w *Worker) openShare(ctx context.Context) error {
	base, err := parseDaemon(w.Config.Daemon)
	if err != nil {
		return err
	}
	r, err := newRemote(w, base, w.Config.WorkDir)
	if err != nil {
		return err
	}
	for wait := r.retry; ; wait = longer(wait) {
		about, err := r.describe(ctx)
		if err == nil {
			w.Config.QueueURL, w.remote = about.QueueURL, r
			return nil
		}
		w.log().Warn("pibootd not reached", "addr", base.Host, "err", err)
		if !pause.For(ctx, wait) {
			r.close()
			return nil
		}
	}
}

// A session is a worker's state towards its queue. It outlives connections, which are
// made again without end.
type session struct {
	*Worker
	id    string // of this run, for claims
	nc    *nats.Conn
	js    jetstream.JetStream
	known chan struct{} // makes helloLoop send now

	helloMu sync.Mutex // held to change hello, not to read it
	hello   atomic.Pointer[transcode.Hello]

	reply     atomic.Pointer[transcode.HelloReply] // the queue's latest
	undrained chan struct{}                        // work may be taken again
	failures  map[string]int                       // of hardware encoders since they last proved their work
	ingests   sync.WaitGroup                       // of live sources, which are received beside other units
}

// connect returns a session, or nil if ctx ended first. It retries until the server
// runs and knows this worker.
func (w *Worker) connect(ctx context.Context) (*session, error) {
	for wait := w.retryAfter(); ; wait = longer(wait) {
		nc, err := nats.Connect(w.Config.QueueURL, w.natsOptions()...)
		if err == nil {
			return w.newSession(nc)
		}
		w.log().Warn("queue not reached", "addr", w.Config.QueueURL, "err", err)
		if !pause.For(ctx, wait) {
			return nil, nil
		}
	}
}

func (w *Worker) newSession(nc *nats.Conn) (*session, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("speaking to the queue: %w", err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("finding our name: %w", err)
	}
	s := &session{
		Worker: w, id: rand.Text(), nc: nc, js: js, known: make(chan struct{}, 1),
		undrained: make(chan struct{}, 1), failures: map[string]int{},
	}
	nc.SetReconnectHandler(func(*nats.Conn) {
		w.log().Info("queue reached again", "addr", w.Config.QueueURL)
		s.helloSoon() // a restarted daemon gives no work to a worker that has not said hello
	})
	s.reply.Store(&transcode.HelloReply{})
	s.hello.Store(&transcode.Hello{
		Protocol: transcode.Protocol,
		Hostname: hostname,
		Version:  w.Version,
		Arch:     runtime.GOARCH,
		CPUs:     runtime.NumCPU(),
		Memory:   w.memoryBytes(),
		MuxID:    w.Boot.MuxID,
		HWDecode: w.Boot.HWDecode,
	})
	return s, nil
}

func (w *Worker) natsOptions() []nats.Option {
	return []nats.Option{
		nats.Name(w.Config.Name),
		nats.UserInfo(w.Config.Name, w.Config.Token),
		nats.CustomInboxPrefix("_INBOX." + w.Config.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		// A board may be up before the daemon knows its token.
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(w.reconnectDelay),
		nats.PingInterval(20 * time.Second),
		// Nothing is buffered: requests are repeated, and a late one would be stale.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(*nats.Conn) { w.log().Info("queue reached", "addr", w.Config.QueueURL) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			w.log().Warn("queue lost", "addr", w.Config.QueueURL, "err", err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			w.log().Warn("queue complains", "addr", w.Config.QueueURL, "err", err)
		}),
	}
}

// reconnectDelay returns the pause before the nth attempt to connect. It grows,
// because the server may be back in a second, or refuse this worker for good.
func (w *Worker) reconnectDelay(n int) time.Duration {
	wait := w.retryAfter()
	for range min(n, 10) - 1 {
		wait = longer(wait)
	}
	return wait
}

// introduce tests what this machine can do of what most units need, and reports it
// in every Hello from then on.
func (s *session) introduce(ctx context.Context) error {
	found, err := s.capabilities(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		s.updateHello(func(h *transcode.Hello) { h.NoFFmpeg = cut(err.Error()) })
		s.helloOnce(ctx)
		return err
	}
	s.decoders = found.decoders
	s.updateHello(func(h *transcode.Hello) {
		h.FFmpeg, h.Encoders, h.Decoders = found.version, found.encoders, found.decoders
	})
	s.log().Info("worker ready", "ffmpeg", found.version, "encoders", found.encoders, "decoders", found.decoders)
	return nil
}

// helloLoop sends Hello at the interval that the queue asks for.
func (s *session) helloLoop(ctx context.Context) error {
	for {
		reply, ok := s.sayHello(ctx)
		if !ok {
			return nil
		}
		s.applyReply(reply)
		select {
		case <-ctx.Done():
			return nil
		case <-s.known:
		case <-time.After(helloEvery(reply)):
		}
	}
}

// sayHello sends a Hello until it is answered. Each has the time at which it is sent. ok is false
// when ctx has ended.
func (s *session) sayHello(ctx context.Context) (reply transcode.HelloReply, ok bool) {
	for wait := s.retryAfter(); ; wait = longer(wait) {
		reply, err := s.helloOnce(ctx)
		if err == nil {
			return reply, true
		}
		s.log().Debug("queue does not answer", "subject", transcode.SubjectHello, "err", err)
		if !pause.For(ctx, wait) {
			return reply, false
		}
	}
}

func (s *session) helloOnce(ctx context.Context) (reply transcode.HelloReply, err error) {
	hello := *s.hello.Load()
	hello.Machine = s.machine()
	body, err := json.Marshal(hello)
	if err != nil {
		return reply, fmt.Errorf("saying hello: %w", err)
	}
	err = s.requestOnce(ctx, transcode.SubjectHello+"."+s.Config.Name, body, answerWithin, &reply)
	return reply, err
}

// leaveWithin is how long the end of a worker may take that cannot reach its queue.
const leaveWithin = time.Second

// leave says that this worker was stopped, as it is when its machine is shut down.
func (s *session) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	s.updateHello(func(h *transcode.Hello) { h.Leaving = true })
	if _, err := s.helloOnce(ctx); err != nil {
		s.log().Debug("queue not reached at the end", "err", err)
	}
}

// helloEvery bounds what the queue asked for.
func helloEvery(r transcode.HelloReply) time.Duration {
	return time.Duration(min(max(r.EverySeconds, 1), 300)) * time.Second
}

// work fetches work messages and handles them one after the other.
func (s *session) work(ctx context.Context) error {
	defer s.ingests.Wait()
	wait := s.retryAfter()
	for s.ready(ctx) {
		msg, err := s.next(ctx)
		if err != nil {
			// Debug, because the connection's handler logs a lost connection once.
			s.log().Debug("no work to be had", "err", err)
			pause.For(ctx, wait)
			wait = longer(wait)
			continue
		}
		wait = s.retryAfter()
		if msg != nil {
			began := time.Now()
			s.handle(ctx, msg)
			s.rest(ctx, time.Since(began))
		}
	}
	return nil
}

// next returns a work message, or nil if none comes. A worker with a muxer id fetches
// from its own lane first. It can wait at one lane only, so it waits a few seconds at
// the common lane, where most work is, and then looks at its own again.
func (s *session) next(ctx context.Context) (jetstream.Msg, error) {
	if s.Boot.MuxID == 0 {
		return s.fetch(ctx, transcode.LaneAny, s.fetchWait())
	}
	msg, err := s.fetch(ctx, transcode.MuxLane(s.Boot.MuxID), 0)
	// The queue makes a lane's consumer with the lane's first job or worker.
	if msg != nil || err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return msg, err
	}
	return s.fetch(ctx, transcode.LaneAny, s.fetchWait()/10)
}

// fetch returns a message of a lane, or nil if none comes within wait.
func (s *session) fetch(ctx context.Context, lane string, wait time.Duration) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+fetchTimeout)
	defer cancel()
	consumer, err := s.js.Consumer(ctx, transcode.StreamWork, transcode.WorkConsumer(lane, transcode.PriorityNormal))
	if err != nil {
		return nil, fmt.Errorf("asking for work: %w", err)
	}
	batch, err := fetchOne(consumer, wait)
	if err != nil {
		return nil, fmt.Errorf("asking for work: %w", err)
	}
	select {
	case msg, ok := <-batch.Messages():
		if ok {
			return msg, nil
		}
	case <-ctx.Done(): // the request ends with the connection
		return nil, nil
	}
	if err := batch.Error(); err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("waiting for work: %w", err)
	}
	return nil, nil
}

// fetchTimeout is how long the queue may take to answer.
const fetchTimeout = 5 * time.Second

// fetchOne asks for one message that comes within wait; 0 asks for one that is
// there.
func fetchOne(consumer jetstream.Consumer, wait time.Duration) (jetstream.MessageBatch, error) {
	if wait == 0 {
		return consumer.FetchNoWait(1)
	}
	return consumer.Fetch(1, jetstream.FetchMaxWait(wait))
}
