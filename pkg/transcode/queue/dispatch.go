package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pibootd/pkg/transcode"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxLanes bounds the consumers that workers can cause.
	maxLanes = 256
	// maxWaiting bounds the fetches of one consumer that wait for work.
	maxWaiting     = 512
	maxWorkMessage = 4 << 10
)

// openStream makes the work stream and the consumer that every worker uses.
func (q *Queue) openStream(ctx context.Context) error {
	js, err := jetstream.New(q.broker.conn)
	if err != nil {
		return fmt.Errorf("queue: opening JetStream: %w", err)
	}
	q.js = js
	// One message per subject, and no other while a worker holds it: a unit
	// cannot be announced twice, however often that is tried.
	q.stream, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:                 transcode.StreamWork,
		Subjects:             []string{transcode.SubjectWork + ".>"},
		Retention:            jetstream.WorkQueuePolicy,
		Storage:              jetstream.FileStorage,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    1,
		MaxMsgSize:           maxWorkMessage,
		MaxBytes:             maxStreamBytes / 2,
		Replicas:             1,
	})
	if err != nil {
		return fmt.Errorf("queue: making the stream %s: %w", transcode.StreamWork, err)
	}
	return q.openLane(ctx, transcode.LaneAny)
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
	_, err := q.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable:       transcode.WorkConsumer(lane, transcode.PriorityNormal),
		FilterSubject: transcode.WorkFilter(lane, transcode.PriorityNormal),
		AckPolicy:     jetstream.AckExplicitPolicy,
		// Longer than a claim lasts: one that expires is announced anew at once,
		// and whoever is delivered a message again can claim what it says.
		AckWait:       2 * q.claimTTL,
		MaxDeliver:    -1, // attempts are counted in SQLite
		MaxAckPending: -1,
		MaxWaiting:    maxWaiting,
	})
	if err != nil {
		return fmt.Errorf("queue: opening lane %s: %w", lane, err)
	}
	q.lanesMu.Lock()
	defer q.lanesMu.Unlock()
	q.lanes[lane] = true
	return nil
}

// reconcile announces every unit that waits and has no message in the stream.
func (q *Queue) reconcile(ctx context.Context) error {
	// The stream is looked at first: a message that goes meanwhile belonged to
	// a unit that was claimed, or is taken back by withdraw, which wakes us again.
	info, err := q.stream.Info(ctx, jetstream.WithSubjectFilter(transcode.SubjectWork+".>"))
	if err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	waiting, err := q.waitingUnits(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range waiting {
		if _, announced := info.State.Subjects[w.subject]; announced {
			continue
		}
		if err := q.openLane(ctx, w.lane); err != nil {
			errs = append(errs, err) // the other lanes must not wait for it
			continue
		}
		if err := q.announceUnit(ctx, w); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(errs...)
}

// A waitingUnit is a pending unit of a job that goes on.
type waitingUnit struct {
	key     unitKey
	lane    string
	subject string
}

func (q *Queue) waitingUnits(ctx context.Context) ([]waitingUnit, error) {
	rows, err := q.store.Query(ctx, `
		SELECT u.job, u.unit, u.kind, j.request FROM units u JOIN jobs j ON j.id = u.job
		WHERE u.state = ? AND j.state IN (?, ?) ORDER BY u.job, u.seq`, pending, Queued, Running)
	if err != nil {
		return nil, fmt.Errorf("reading units: %w", err)
	}
	defer rows.Close()
	var waiting []waitingUnit
	for rows.Next() {
		var w waitingUnit
		var unit transcode.Unit
		var request column[transcode.Request]
		if err := rows.Scan(&w.key.job, &unit.ID, &unit.Kind, &request); err != nil {
			return nil, fmt.Errorf("reading units: %w", err)
		}
		w.key.unit, w.lane = unit.ID, lane(request.V)
		w.subject = transcode.WorkSubject(w.lane, transcode.PriorityNormal, w.key.job, unit)
		waiting = append(waiting, w)
	}
	return waiting, rows.Err()
}

func (q *Queue) announceUnit(ctx context.Context, w waitingUnit) error {
	body, err := json.Marshal(transcode.Work{Job: w.key.job, Unit: w.key.unit})
	if err != nil {
		return err
	}
	_, err = q.js.Publish(ctx, w.subject, body)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == errMessageThere {
		return nil
	}
	if err != nil {
		return fmt.Errorf("announcing unit %s of job %d: %w", w.key.unit, w.key.job, err)
	}
	return nil
}

// errMessageThere is the server's code for a subject that is full:
// JSStreamStoreFailedF with "maximum messages per subject exceeded".
const errMessageThere = 10077

// withdraw takes back the messages of one unit, or of a whole job if unit is
// "". A message that a worker holds goes too; its late acknowledgement then
// cannot delete the one that is published instead.
func (q *Queue) withdraw(ctx context.Context, job int64, unit string) {
	if unit == "" {
		unit = "*"
	}
	subject := strings.Join([]string{transcode.SubjectWork, "*", "*", "*", fmt.Sprint(job), unit}, ".")
	err := q.stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
	if err != nil && ctx.Err() == nil {
		// It is not lost: the stream delivers it again in time, or the claim
		// of whoever holds it is refused.
		q.log.Warn("work message not withdrawn", "job", job, "unit", unit, "err", err)
	}
}
