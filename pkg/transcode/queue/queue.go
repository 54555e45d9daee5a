// Package queue turns a request for a video into units of work, hands them to
// workers over NATS JetStream, accepts exactly one result for each, and
// publishes the whole as HLS.
//
// The truth is in SQLite. JetStream only tells workers that there is something
// to claim, and is filled again from the truth whenever it has lost something.
// What a worker gets is decided when it claims: the first unit of the first job
// that it can do, or one that a slower worker is at when nothing else is left.
// A claim is numbered (the attempt); the result of any attempt but the current
// one is refused, so a worker that was thought dead can do no harm.
package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

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
	// reconcileEvery is how long work can stay unannounced that the stream lost.
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
	Broker   *broker.Broker
	Log      *slog.Logger // nil discards

	OnWorker func(WorkerEvent) // nil: nobody is told
	OnUnit   func(UnitEvent)   // nil: nobody is told
	// OnMisuse receives, in words, what a worker has done that it must not; nil
	// drops it.
	OnMisuse func(worker, what string)

	// Revoke ends what a worker may still do to a file of its scratch that was
	// taken from it. nil: files are copied instead of moved.
	Revoke func(*os.File) error

	// Weight returns the share of its time that a worker is to work in; nil
	// means all of it for each.
	Weight func(worker string) float64
	// Labels returns the labels of a worker; nil means that none has any.
	// It is asked while the store is being written: it must answer from memory.
	Labels func(worker string) []string

	ClaimTTL   time.Duration // a claim without progress for this long expires; 0 means 60 s
	HelloEvery time.Duration // 0 means 15 s; a worker silent for three of them is offline
	Keep       int           // ended jobs that are remembered; 0 means 1000
	ForeignTTL time.Duration // a foreign muxer's claim expires after this long; 0 means 6 h
	ForeignUID uint32        // the user and group who foreign muxers are in the media share; 0 means transcode.MuxerUID
}

// A Queue holds the jobs. It is safe for concurrent use.
type Queue struct {
	store      *store.Store
	media      *os.Root
	js         jetstream.JetStream
	stream     jetstream.Stream
	broker     *broker.Broker
	conn       *nats.Conn // of broker
	log        *slog.Logger
	onWorker   func(WorkerEvent)
	onUnit     func(UnitEvent)
	onMisuse   func(worker, what string)
	taker      share.Taker
	weight     func(worker string) float64
	claimTTL   time.Duration
	helloEvery time.Duration
	foreignTTL time.Duration
	foreignUID uint32
	keep       int

	workers *workers
	claims  *claims
	watches *watches

	topics []topic
	subs   []*nats.Subscription

	lanesMu sync.Mutex
	lanes   map[string]bool // those that have a consumer
	number  atomic.Int64    // of the latest work message
	lost    atomic.Bool     // the server may have lost the stream

	announce chan struct{} // there may be units that no message announces
	publish  chan struct{} // there may be a job whose units are all done
}

// Open prepares the stream and clears away unpublished files that nothing needs
// any more. Workers are heard from now on and answered by Run. Close the
// Queue after Run.
func Open(ctx context.Context, o Options) (*Queue, error) {
	media, err := os.OpenRoot(o.MediaDir)
	if err != nil {
		return nil, fmt.Errorf("queue: opening the media share: %w", err)
	}
	q := &Queue{
		store:      o.Store,
		media:      media,
		broker:     o.Broker,
		conn:       o.Broker.Conn(),
		log:        logger(o.Log),
		onWorker:   o.OnWorker,
		onUnit:     o.OnUnit,
		onMisuse:   o.OnMisuse,
		taker:      share.Taker{Revoke: o.Revoke},
		weight:     o.Weight,
		claimTTL:   cmp.Or(o.ClaimTTL, defaultClaimTTL),
		helloEvery: cmp.Or(o.HelloEvery, defaultHelloEvery),
		foreignTTL: cmp.Or(o.ForeignTTL, defaultForeignTTL),
		foreignUID: cmp.Or(o.ForeignUID, transcode.MuxerUID),
		keep:       cmp.Or(o.Keep, defaultKeep),
		workers:    newWorkers(o.Labels),
		claims:     newClaims(),
		watches:    newWatches(),
		lanes:      map[string]bool{},
		announce:   make(chan struct{}, 1),
		publish:    make(chan struct{}, 1),
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
	// Before anything can be submitted: were the store new, files of an older
	// one's first job would be in the way of ours.
	if err := q.sweep(ctx); err != nil {
		return err
	}
	return q.listen()
}

// Close stops listening to workers and releases the media share. Run must have
// returned, and the Broker must still be open.
func (q *Queue) Close() error {
	q.hangUp()
	if err := q.media.Close(); err != nil {
		return fmt.Errorf("queue: closing the media share: %w", err)
	}
	return nil
}

// Run answers workers, takes back claims that expired, announces units and
// publishes finished jobs, until ctx ends; then it waits for what is under way
// and returns nil. A claim that was running when the daemon ended gets a whole
// ClaimTTL from now: its worker is likely still encoding.
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
	g.Go(func() error { return q.converse(ctx) })
	g.Go(func() error { return q.watchClock(ctx) })
	g.Go(func() error { return q.work(ctx, "announcing work", q.announce, q.reconcile) })
	g.Go(func() error { return q.work(ctx, "publishing", q.publish, q.publishReady) })
	g.Go(func() error { return q.work(ctx, "sweeping the media share", nil, q.sweep) })
	g.Go(func() error { return q.work(ctx, "sweeping the scratches", nil, q.sweepScratches) })
	g.Go(func() error { return q.work(ctx, "forgetting old jobs", nil, q.prune) })
	return g.Wait()
}

// work does f when it is woken, and every now and then in case that an error
// kept it from what it was woken for.
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
	tick := time.NewTicker(max(min(q.claimTTL, q.helloEvery)/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			q.expireClaims(ctx, now)
			for _, name := range q.workers.expire(now.Add(-missedHellos * q.helloEvery)) {
				q.tellWorker(name)
			}
			if q.worthDoubling(now) > 0 {
				wake(q.announce)
			}
		}
	}
}

// wake asks the receiver of c to look again; it will if it was asked already.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func logger(l *slog.Logger) *slog.Logger {
	return cmp.Or(l, slog.New(slog.DiscardHandler))
}

// lane returns the lane of the work of a muxer; 0 is anybody's.
func lane(mux int) string {
	if mux == 0 {
		return transcode.LaneAny
	}
	return transcode.MuxLane(mux)
}
