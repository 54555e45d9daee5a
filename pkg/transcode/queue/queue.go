// Package queue turns a request for a video into units of work, hands them to
// workers, accepts exactly one result for each, and publishes the video.
//
// # Jobs and units
//
// A job is one request: make this video available under that name. Its first unit
// is a probe. From the probe's result the queue makes a plan (transcode.NewPlan) and
// inserts one unit for each part of it: chunks of video, the audio, and for a file
// the unit that joins them. A unit is what one worker does in one go. It is pending,
// running, done, failed or cancelled; of two passes, the units of video are waiting until
// all surveys are done. When all units of a job are done, the queue
// assembles their files and publishes them by one rename.
//
// # Attempts and claims
//
// Workers fetch work. A worker that claims gets the first pending unit that it can
// do, in the order of the jobs' priority and age. That starts an attempt: attempts
// of a unit are numbered, and each writes to a directory of its own. While an attempt
// runs, its worker holds a claim on it, which every progress message extends and
// which expires without. An attempt that fails or expires makes its unit pending
// again; after too many the job fails.
//
// When nothing is pending, an idle worker may start a speculative attempt of a unit
// whose worker is much slower, a straggler. The first result is accepted and ends
// the other attempt. Units of progressive jobs have deadlines: what a player waits for
// is claimed first of its job, and what would be late gets its speculative attempt while
// others are pending (deadline.go).
//
// A result counts only if its attempt still runs. So a worker that was thought dead
// can do no harm when it comes back. Before a result is accepted, its files are moved
// out of the worker's reach and compared with the hashes that the worker reported.
//
// # Storage
//
// SQLite holds all of it; every change is one transaction (Queue.write). NATS
// JetStream only wakes workers: its messages say that there is work, not which. It
// may lose all of them, because the queue compares the stream with the store every
// half a minute and announces again what is missing.
//
// # Legacy muxers
//
// Muxers of the pool that pibootd replaces speak another protocol (pkg/transcode/muxer)
// and do whole jobs. They claim a job's probe unit in place of the job.
package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pibootd/internal/turns"
	"pibootd/pkg/share"
	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const (
	defaultClaimTTL   = 60 * time.Second
	defaultHelloEvery = 15 * time.Second
	// reconcileEvery bounds how long work that the stream lost stays unannounced.
	reconcileEvery = 30 * time.Second
	defaultKeep    = 1000
	// missedHellos makes a worker count as offline.
	missedHellos = 3
)

// Options of a Queue. Functions are called without locks held, from several
// goroutines, and must not block.
type Options struct {
	Store    *store.Store
	MediaDir string // the media share
	Inbox    string // the watch folder in MediaDir, into which nothing is published; "": none
	Broker   *broker.Broker
	Log      *slog.Logger // nil discards

	OnWorker func(WorkerEvent) // nil drops events
	OnUnit   func(UnitEvent)   // nil drops events
	// OnMisuse receives a description of what a worker did against the rules; nil
	// drops it.
	OnMisuse func(worker, what string)

	// OnLogs receives lines of a board's log; nil asks no board for them.
	OnLogs func(worker string, lines []transcode.LogLine)

	// Revoke ends a worker's access to a file that was moved out of its scratch. If it
	// is nil, files are copied instead of moved.
	Revoke func(*os.File) error

	// Weight returns the share of its time that a worker works; nil means all of it.
	Weight func(worker string) float64
	// Labels returns the labels of a worker; nil means that none has any. It is
	// called within transactions, so it must answer from memory.
	Labels func(worker string) []string

	// UnitSeconds is the shortest unit of video that a plan makes; 0 means
	// transcode.Division's own.
	UnitSeconds float64

	// HeadBytes is the size of sources from which on the beginning of a progressive stream is
	// planned before all of them is known; 0 means 256 MiB.
	HeadBytes int64

	// LiveAllow is where sources of live streams may be; none is on this machine, whose
	// addresses OwnNets returns (nil asks the system).
	LiveAllow []netip.Prefix
	OwnNets   func() ([]netip.Prefix, error)
	// LiveKeys is the directory with the keys of live streams that listen; "": none may.
	LiveKeys string
	// LiveLate is how long players of a live stream wait for a part; 0 means 20 s.
	LiveLate time.Duration

	ClaimTTL   time.Duration // a claim without progress for this long expires; 0 means 60 s
	HelloEvery time.Duration // 0 means 15 s; a worker silent for three of them is offline
	Keep       int           // ended jobs that are kept; 0 means 1000
	LegacyTTL  time.Duration // a legacy muxer's claim expires after this long; 0 means 6 h
	LegacyUID  uint32        // the user and group of legacy muxers in the media share; 0 means transcode.MuxerUID
}

// A Queue holds the jobs. It is safe for concurrent use.
type Queue struct {
	store       *store.Store
	media       *os.Root
	beside      atomic.Pointer[beside]
	js          jetstream.JetStream
	stream      jetstream.Stream
	broker      *broker.Broker
	conn        *nats.Conn // of broker
	log         *slog.Logger
	onWorker    func(WorkerEvent)
	onUnit      func(UnitEvent)
	onMisuse    func(worker, what string)
	receiveLogs func(worker string, lines []transcode.LogLine)
	acceptor    share.Acceptor
	weight      func(worker string) float64
	claimTTL    time.Duration
	helloEvery  time.Duration
	legacyTTL   time.Duration
	legacyUID   uint32
	keep        int
	unitSeconds float64
	headBytes   int64
	inbox       string

	workers *workers
	claims  *claims

	// announced has the progressive streams by job. It belongs to the goroutine that
	// publishes.
	announced map[int64]extent

	watches *watches
	places  *places

	live      *liveStreams
	liveAllow []netip.Prefix
	ownNets   func() ([]netip.Prefix, error)
	liveKeys  string
	liveLate  time.Duration
	liveTurns turns.Turns[int64] // changes of what is received, by job

	topics []topic
	subs   []*nats.Subscription

	lanesMu sync.Mutex
	lanes   map[string]bool // those that have a consumer
	stalls  map[string]stall
	number  atomic.Int64 // of the latest work message
	lost    atomic.Bool  // the server may have lost the stream

	announce chan struct{} // there may be units that no message announces
	publish  chan struct{} // there may be a job whose units are all done
}

// Open prepares the stream, removes unpublished files that no job needs, and
// subscribes to the messages of workers, which Run answers. Close the Queue after
// Run.
func Open(ctx context.Context, o Options) (*Queue, error) {
	media, err := os.OpenRoot(o.MediaDir)
	if err != nil {
		return nil, fmt.Errorf("queue: opening the media share: %w", err)
	}
	q := &Queue{
		store:       o.Store,
		media:       media,
		broker:      o.Broker,
		conn:        o.Broker.Conn(),
		log:         logger(o.Log),
		onWorker:    o.OnWorker,
		onUnit:      o.OnUnit,
		onMisuse:    o.OnMisuse,
		receiveLogs: o.OnLogs,
		acceptor:    share.Acceptor{Revoke: o.Revoke},
		weight:      o.Weight,
		inbox:       o.Inbox,
		claimTTL:    cmp.Or(o.ClaimTTL, defaultClaimTTL),
		helloEvery:  cmp.Or(o.HelloEvery, defaultHelloEvery),
		legacyTTL:   cmp.Or(o.LegacyTTL, defaultLegacyTTL),
		legacyUID:   cmp.Or(o.LegacyUID, transcode.MuxerUID),
		keep:        cmp.Or(o.Keep, defaultKeep),
		unitSeconds: o.UnitSeconds,
		headBytes:   cmp.Or(o.HeadBytes, longSource),
		workers:     newWorkers(o.Labels),
		claims:      newClaims(),
		announced:   map[int64]extent{},
		watches:     newWatches(),
		live:        newLiveStreams(),
		places:      newPlaces(),
		liveAllow:   o.LiveAllow,
		liveKeys:    o.LiveKeys,
		liveLate:    cmp.Or(o.LiveLate, defaultLiveLate),
		ownNets:     ownNets,
		lanes:       map[string]bool{},
		stalls:      map[string]stall{},
		announce:    make(chan struct{}, 1),
		publish:     make(chan struct{}, 1),
	}
	if o.OwnNets != nil {
		q.ownNets = o.OwnNets
	}
	if err := q.prepare(ctx); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func (q *Queue) prepare(ctx context.Context) error {
	q.number.Store(time.Now().UnixNano()) // above all of an earlier run
	if err := q.loadWorkers(ctx); err != nil {
		return err
	}
	if err := q.prepareDirs(ctx); err != nil {
		return fmt.Errorf("queue: preparing the media share: %w", err)
	}
	if err := q.openStream(ctx); err != nil {
		return err
	}
	if err := q.loadLive(ctx); err != nil {
		return err
	}
	// Before anything can be submitted: in a new store the number of the first job may
	// be that of an older store's job, whose files are in its way.
	if err := q.sweep(ctx); err != nil {
		return err
	}
	return q.listen()
}

// Close unsubscribes from the messages of workers and closes the media share. Run
// must have returned, and the Broker must still be open.
func (q *Queue) Close() error {
	q.unsubscribe()
	if err := q.media.Close(); err != nil {
		return fmt.Errorf("queue: closing the media share: %w", err)
	}
	return nil
}

// Run answers workers, expires claims, announces units and publishes finished jobs,
// until ctx ends; then it waits for operations in progress and returns nil. Claims of
// an earlier run get a whole ClaimTTL from now, because their workers are likely
// still encoding.
func (q *Queue) Run(ctx context.Context) error {
	if err := q.adoptClaims(ctx, time.Now()); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	wake(q.announce)
	wake(q.publish)
	g.Go(func() error { return q.serveMessages(ctx) })
	g.Go(func() error { return q.watchClock(ctx) })
	g.Go(func() error { return q.work(ctx, "announcing work", q.announce, q.reconcile) })
	g.Go(func() error { return q.work(ctx, "publishing", q.publish, q.publishReady) })
	g.Go(func() error { return q.work(ctx, "sweeping the media share", nil, q.sweep) })
	g.Go(func() error { return q.work(ctx, "sweeping the scratches", nil, q.sweepScratches) })
	g.Go(func() error { return q.work(ctx, "forgetting old jobs", nil, q.prune) })
	return g.Wait()
}

// work runs f when it is woken, and every half a minute to retry after errors.
func (q *Queue) work(ctx context.Context, what string, woken <-chan struct{}, f func(context.Context) error) error {
	again := time.NewTicker(reconcileEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-again.C:
		}
		if err := f(ctx); err != nil && ctx.Err() == nil {
			q.log.Error("queue is stuck, trying again", "doing", what, "err", err)
		}
	}
}

// watchClock expires claims and workers.
func (q *Queue) watchClock(ctx context.Context) error {
	tick := time.NewTicker(max(min(q.claimTTL/8, q.helloEvery/8, liveTTL/8), time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			q.expireClaims(ctx, now)
			for _, name := range q.workers.expire(now.Add(-missedHellos * q.helloEvery)) {
				q.notifyWorker(name)
			}
			if err := q.watchLive(ctx, now); err != nil && ctx.Err() == nil {
				q.log.Error("live streams not looked after, trying again", "err", err)
			}
			if q.idleSpeculators(now) > 0 {
				wake(q.announce)
			}
		}
	}
}

// wake makes the receiver of c run, once however often it is called before.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func logger(l *slog.Logger) *slog.Logger {
	return cmp.Or(l, slog.New(slog.DiscardHandler))
}

// lane returns the lane of a muxer id; 0 is the lane of all workers.
func lane(mux int) string {
	if mux == 0 {
		return transcode.LaneAny
	}
	return transcode.MuxLane(mux)
}
