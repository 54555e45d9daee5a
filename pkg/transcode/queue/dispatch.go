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
	// maxLanes bounds the consumers that workers can cause.
	maxLanes = 256
	// maxWaiting bounds the fetches of one consumer that wait for work.
	maxWaiting     = 512
	maxWorkMessage = 4 << 10
	ackWait        = 10 * time.Second
)

// openStream makes the work stream and the consumer that every worker uses.
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

// clusterReplicas are what a cluster of servers is asked for, so that any of them
// may fail, and errNoPeers is what one says that has not so many.
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
		Storage:    jetstream.FileStorage,
		Discard:    jetstream.DiscardNew,
		MaxMsgSize: maxWorkMessage,
		MaxBytes:   broker.MaxStreamBytes / 2,
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

// restore makes the stream and its consumers again if a server that is not ours
// may have lost them. They are as they were if it has not.
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

// openLane makes the consumer of a lane. Workers must not make it: consumers
// of a work queue may not overlap, and one that comes and goes loses messages.
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
		MaxDeliver:    -1, // attempts are counted in SQLite
		MaxAckPending: -1,
		MaxWaiting:    maxWaiting,
	})
	if err != nil {
		return fmt.Errorf("queue: opening lane %s: %w", lane, err)
	}
	return nil
}

// Messages of a lane that wait for workers. They only say that there is work,
// so a few are enough, however much there is; each claim looks for more.
const (
	maxMessages = 64
	minMessages = maxMessages / 2
)

// reconcile makes sure that every unit that waits has a worker woken for it, as
// soon as there is one: fewer messages than units in the stream are enough only
// while there are many.
func (q *Queue) reconcile(ctx context.Context) error {
	if !q.broker.Reached() {
		return nil // reaching it wakes us
	}
	if err := q.restore(ctx); err != nil {
		return err
	}
	waiting, err := q.waitingUnits(ctx)
	if err != nil {
		return err
	}
	if len(waiting) == 0 {
		// Workers that have nothing to do may help those that are slow.
		if n := q.idleSpeculators(time.Now()); n > 0 {
			waiting = map[int]int{0: n}
		}
	}
	var errs []error
	for mux, units := range waiting {
		// One lane must not keep the others waiting.
		errs = append(errs, q.fill(ctx, lane(mux), units))
	}
	return errors.Join(errs...)
}

// waitingUnits counts the units that wait by the muxer that may do them. Those
// for labels that no worker has who is there wake nobody: all others would ask
// for them again and again. Workers that come are told.
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

// fill brings a lane's messages to what this many units need.
func (q *Queue) fill(ctx context.Context, lane string, units int) error {
	if err := q.openLane(ctx, lane); err != nil {
		return err
	}
	info, err := q.stream.Info(ctx, jetstream.WithSubjectFilter(transcode.WorkFilter(lane, transcode.PriorityNormal)))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		q.lost.Store(true) // somebody has deleted it
	}
	if err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	there := len(info.State.Subjects)
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
