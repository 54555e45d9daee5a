package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxLanes bounds the consumers that workers can create by their muxer ids.
	maxLanes = 256
	// maxWaiting bounds the fetches of one consumer that wait for work.
	maxWaiting     = 512
	maxWorkMessage = 4 << 10
	ackWait        = 10 * time.Second
)

// openStream creates the work stream and the consumer that every worker uses.
func (q *Queue) openStream(ctx context.Context) error {
	js, err := jetstream.New(q.conn)
	if err != nil {
		return fmt.Errorf("queue: opening JetStream: %w", err)
	}
	q.js = js
	if q.stream, err = q.makeStream(ctx); err != nil {
		return err
	}
	q.conn.SetReconnectHandler(func(*nats.Conn) {
		q.log.Info("queue's server reached again")
		q.lost.Store(true)
		wake(q.announce)
	})
	return q.openLane(ctx, transcode.LaneAny)
}

// A cluster of servers is asked for clusterReplicas, so that any one may fail.
// errNoPeers is the error of a cluster with fewer servers.
const (
	clusterReplicas                     = 3
	errNoPeers      jetstream.ErrorCode = 10005
)

func (q *Queue) makeStream(ctx context.Context) (jetstream.Stream, error) {
	if q.conn.ConnectedClusterName() == "" {
		return q.makeStreamOf(ctx, 1)
	}
	stream, err := q.makeStreamOf(ctx, clusterReplicas)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == errNoPeers {
		return q.makeStreamOf(ctx, 1)
	}
	return stream, err
}

func (q *Queue) makeStreamOf(ctx context.Context, replicas int) (jetstream.Stream, error) {
	stream, err := q.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:       transcode.StreamWork,
		Subjects:   []string{transcode.SubjectWork + ".>"},
		Retention:  jetstream.WorkQueuePolicy,
		Storage:    q.broker.Storage(),
		Discard:    jetstream.DiscardNew,
		MaxMsgSize: maxWorkMessage,
		MaxBytes:   broker.MaxStreamBytes,
		Replicas:   replicas,
	})
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("queue: making the stream %s: %w; the server needs jetstream in its configuration, for the daemon's account", transcode.StreamWork, err)
	case err != nil:
		return nil, fmt.Errorf("queue: making the stream %s: %w", transcode.StreamWork, err)
	}
	return stream, nil
}

// restore creates the stream and its consumers again if an external server may have
// lost them. It changes nothing if they exist.
func (q *Queue) restore(ctx context.Context) error {
	if !q.lost.Swap(false) {
		return nil
	}
	_, err := q.makeStream(ctx)
	for _, lane := range q.openLanes() {
		if err != nil {
			break
		}
		err = q.makeConsumer(ctx, lane)
	}
	if err != nil {
		q.lost.Store(true)
	}
	return err
}

func (q *Queue) openLanes() []string {
	q.lanesMu.Lock()
	defer q.lanesMu.Unlock()
	return slices.Collect(maps.Keys(q.lanes))
}

// openLane creates the consumer of a lane. Workers must not create it, because the
// consumers of a work queue must not overlap, and a temporary one loses messages.
func (q *Queue) openLane(ctx context.Context, lane string) error {
	q.lanesMu.Lock()
	open, full := q.lanes[lane], len(q.lanes) >= maxLanes
	q.lanesMu.Unlock()
	if open {
		return nil
	}
	if full {
		return fmt.Errorf("queue: opening lane %s: there are %d already", lane, maxLanes)
	}
	if err := q.makeConsumer(ctx, lane); err != nil {
		return err
	}
	q.lanesMu.Lock()
	defer q.lanesMu.Unlock()
	q.lanes[lane] = true
	return nil
}

func (q *Queue) makeConsumer(ctx context.Context, lane string) error {
	_, err := q.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable:       transcode.WorkConsumer(lane, transcode.PriorityNormal),
		FilterSubject: transcode.WorkFilter(lane, transcode.PriorityNormal),
		AckPolicy:     jetstream.AckExplicitPolicy,
		// A worker acknowledges before it claims. Where it dies between, another
		// is woken.
		AckWait:       ackWait,
		MaxDeliver:    -1, // SQLite counts the attempts
		MaxAckPending: -1,
		MaxWaiting:    maxWaiting,
	})
	if err != nil {
		return fmt.Errorf("queue: opening lane %s: %w", lane, err)
	}
	return nil
}

// Messages of a lane that wait for workers. They only say that there is work, so a few
// are enough for any amount, because each claim announces more.
const (
	maxMessages = 64
	minMessages = maxMessages / 2
)

// reconcile makes sure that there is a message for every pending unit, up to the limit
// of messages per lane.
func (q *Queue) reconcile(ctx context.Context) error {
	if !q.broker.Reached() {
		return nil // reconnecting wakes us
	}
	if err := q.restore(ctx); err != nil {
		return err
	}
	waiting, err := q.waitingUnits(ctx)
	if err != nil {
		return err
	}
	if len(waiting) == 0 {
		// Idle workers may start speculative attempts.
		if n := q.idleSpeculators(time.Now()); n > 0 {
			waiting = map[int]int{0: n}
		}
	}
	var errs []error
	for mux, units := range waiting {
		// An error of one lane must not stop the others.
		errs = append(errs, q.fill(ctx, lane(mux), units))
	}
	return errors.Join(errs...)
}

// waitingUnits counts the pending units by muxer id. Units with labels that no worker
// has do not count, because the other workers would claim in vain again and again.
func (q *Queue) waitingUnits(ctx context.Context) (map[int]int, error) {
	rows, err := q.store.Query(ctx, `
		SELECT j.mux, j.labels, count(*) FROM jobs j CROSS JOIN units u ON u.job = j.id AND u.state = ?
		WHERE j.ended = 0 AND j.paused = 0 GROUP BY j.mux, j.labels`, pending)
	if err != nil {
		return nil, fmt.Errorf("counting units: %w", err)
	}
	defer rows.Close()
	all, waiting := q.workers.list(), map[int]int{}
	for rows.Next() {
		var mux, units int
		var labels string
		if err := rows.Scan(&mux, &labels, &units); err != nil {
			return nil, fmt.Errorf("counting units: %w", err)
		}
		if labels == "" || anyHas(all, splitLabels(labels)) {
			waiting[mux] += units
		}
	}
	return waiting, rows.Err()
}

// A stall is since when a lane has had the same message that a worker had and did not acknowledge.
type stall struct {
	message uint64 // the one before it
	since   time.Time
}

// messages returns how many messages of a lane wake workers. Those that were delivered do not count
// if one of them should have been delivered again: the server's clock says when, and if that was set
// back, it is not for a long time. since has a clock that nobody sets.
func (q *Queue) messages(ctx context.Context, lane string) (int, error) {
	consumer, err := q.stream.Consumer(ctx, transcode.WorkConsumer(lane, transcode.PriorityNormal))
	if err != nil {
		return 0, err
	}
	info := consumer.CachedInfo()
	there := min(int(info.NumPending), maxMessages)
	if q.stalledFor(lane, info) <= ackWait {
		there += info.NumAckPending
	}
	return there, nil
}

func (q *Queue) stalledFor(lane string, info *jetstream.ConsumerInfo) time.Duration {
	q.lanesMu.Lock()
	defer q.lanesMu.Unlock()
	now, last := time.Now(), q.stalls[lane]
	if info.NumAckPending == 0 || last.since.IsZero() || last.message != info.AckFloor.Stream {
		last = stall{info.AckFloor.Stream, now}
		q.stalls[lane] = last
	}
	return now.Sub(last.since)
}

// fill adds the messages that this many units of a lane need.
func (q *Queue) fill(ctx context.Context, lane string, units int) error {
	if err := q.openLane(ctx, lane); err != nil {
		return err
	}
	there, err := q.messages(ctx, lane)
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		q.lost.Store(true) // it was deleted
	}
	if err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	if there >= min(units, minMessages) {
		return nil
	}
	for range min(units, maxMessages) - there {
		if _, err := q.js.Publish(ctx, transcode.WorkSubject(lane, transcode.PriorityNormal, q.number.Add(1)), []byte("{}")); err != nil {
			return fmt.Errorf("announcing work: %w", err)
		}
	}
	return nil
}
