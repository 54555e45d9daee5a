package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// Limits of messages. A message that arrives while too many wait is dropped: a
// request is repeated, and the next progress message follows soon.
const (
	maxSmall        = 64 << 10 // bytes of any message but a result
	maxSmallWaiting = 4096
	maxDoneWaiting  = 64
	maxLogsWaiting  = 256
	maxLiveWaiting  = 2 * maxLive
	// verifyAtOnce is how many results are hashed at a time.
	verifyAtOnce = 4
)

// A topic is one kind of message from workers.
type topic struct {
	subject  string
	maxBytes int
	waiting  chan *nats.Msg
	atOnce   int
	// answer handles a message. A nil reply is not sent. An error means that
	// nothing has happened and that the worker has to ask again.
	answer func(ctx context.Context, worker string, body []byte) (reply any, err error)
}

// listen subscribes to the messages of workers. Those that arrive before Run wait.
func (q *Queue) listen() error {
	small := func() chan *nats.Msg { return make(chan *nats.Msg, maxSmallWaiting) }
	q.topics = []topic{
		{transcode.SubjectHello, maxSmall, small(), 1, q.onHello},
		{transcode.SubjectClaim, maxSmall, small(), 1, q.onClaim},
		{transcode.SubjectProgress, maxSmall, small(), 1, q.onProgress},
		{transcode.SubjectFailed, maxSmall, small(), 1, q.onFailed},
		{transcode.SubjectLogs, maxSmall, make(chan *nats.Msg, maxLogsWaiting), 1, q.onLogs},
		{transcode.SubjectLive, broker.MaxPayload, make(chan *nats.Msg, maxLiveWaiting), 1, q.onLive},
		{transcode.SubjectTunnel, broker.MaxPayload, make(chan *nats.Msg, maxLiveWaiting), 2 * maxLive, q.onTunnel},
		{transcode.SubjectDone, broker.MaxPayload, make(chan *nats.Msg, maxDoneWaiting), verifyAtOnce, q.onDone},
	}
	for _, t := range q.topics {
		sub, err := q.conn.ChanSubscribe(t.subject+".*", t.waiting)
		if err != nil {
			return fmt.Errorf("queue: subscribing to %s: %w", t.subject, err)
		}
		q.subs = append(q.subs, sub)
	}
	// Until the server has the subscriptions, it answers requests with "no responders".
	if err := q.conn.Flush(); err != nil {
		return fmt.Errorf("queue: subscribing: %w", err)
	}
	return nil
}

// unsubscribe ends the subscriptions. An error means that the connection, and with it
// the subscriptions, is gone already.
func (q *Queue) unsubscribe() {
	for _, sub := range q.subs {
		_ = sub.Unsubscribe()
	}
}

// serveMessages answers workers until ctx ends.
func (q *Queue) serveMessages(ctx context.Context) error {
	var g errgroup.Group
	for _, t := range q.topics {
		for range t.atOnce {
			g.Go(func() error { q.serve(ctx, t); return nil })
		}
	}
	return g.Wait()
}

// serve answers the messages of a topic until ctx ends.
func (q *Queue) serve(ctx context.Context, t topic) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-t.waiting:
			err := q.answer(ctx, t, m)
			switch {
			case err == nil || ctx.Err() != nil:
			case errors.Is(err, errMalformed):
				q.blame(t, m, err)
			default:
				q.log.Warn("message not answered", "subject", m.Subject, "err", err)
			}
		}
	}
}

// errMalformed reports a message that pibootd's worker never sends.
var errMalformed = errors.New("a message to the queue is against its rules")

// blame reports the sender of a malformed message as misusing the queue. A message
// without a reply subject is ignored: it may be the server's reply to a request that
// another worker has forged.
func (q *Queue) blame(t topic, m *nats.Msg, err error) {
	if worker, ok := strings.CutPrefix(m.Subject, t.subject+"."); ok && m.Reply != "" {
		q.misused(worker, err.Error())
	}
}

// answer answers one message. It recovers from panics, because untrusted input must
// not end the daemon.
func (q *Queue) answer(ctx context.Context, t topic, m *nats.Msg) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	// The server makes sure who publishes on a subject. But another worker can name
	// this subject as the reply subject of a request of its own, and the server then
	// delivers a work message or our reply here. A work message keeps its own subject,
	// our reply has no reply subject, and neither names an inbox of this worker.
	worker, ok := strings.CutPrefix(m.Subject, t.subject+".")
	if !ok {
		return fmt.Errorf("%w: delivered on a subject of %s", errMalformed, t.subject)
	}
	silent := t.subject == transcode.SubjectProgress && m.Reply == ""
	if !silent && !strings.HasPrefix(m.Reply, broker.Inbox(worker)) {
		return fmt.Errorf("%w: reply subject %.100q; want one of %s>", errMalformed, m.Reply, broker.Inbox(worker))
	}
	if len(m.Data) > t.maxBytes {
		return fmt.Errorf("%w: %s has %d bytes; want %d at most", errMalformed, t.subject, len(m.Data), t.maxBytes)
	}
	q.workers.seen(worker, time.Now())
	reply, err := t.answer(ctx, worker, m.Data)
	if err != nil || reply == nil || m.Reply == "" {
		return err
	}
	body, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	return m.Respond(body)
}

// decode parses a message.
func decode[T any](body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("%w: reading %T: %w", errMalformed, v, err)
	}
	return v, nil
}

func (q *Queue) onHello(ctx context.Context, worker string, body []byte) (any, error) {
	hello, err := decode[transcode.Hello](body)
	if err != nil {
		return nil, err
	}
	if hello.MuxID < 0 || hello.MuxID > maxMuxID {
		return nil, fmt.Errorf("%w: muxer id %d; want 0 to %d", errMalformed, hello.MuxID, maxMuxID)
	}
	other := otherBuild(worker, hello.Protocol)
	if other != "" {
		hello.Locked = other // more precise than "drained"
	}
	if hello.MuxID > 0 {
		// Before the reply, because the worker fetches from the lane next.
		if err := q.openLane(ctx, transcode.MuxLane(hello.MuxID)); err != nil {
			return nil, err
		}
	}
	if q.workers.hello(worker, hello, time.Now()) {
		q.notifyWorker(worker)
		wake(q.announce) // units may wait for its labels
	}
	reply := transcode.HelloReply{EverySeconds: max(int(q.helloEvery.Seconds()), 1), Drain: q.workers.drained(worker) || other != "", Logs: q.receiveLogs != nil}
	if q.weight != nil {
		reply.Weight = q.weight(worker)
	}
	return reply, nil
}

func (q *Queue) onClaim(ctx context.Context, worker string, body []byte) (any, error) {
	c, err := decode[transcode.Claim](body)
	if err != nil {
		return nil, err
	}
	if why := q.workers.barred(worker); why != "" {
		return transcode.ClaimReply{Refused: why}, nil
	}
	return unlessFailed(q.claim(ctx, worker, c.Session))
}

func (q *Queue) onProgress(ctx context.Context, worker string, body []byte) (any, error) {
	p, err := decode[transcode.Progress](body)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if !q.claims.progress(worker, p, now, now.Add(q.claimTTL)) {
		// Normal after a claim has expired or its job has ended.
		return transcode.Verdict{Reason: "the claim was taken back"}, nil
	}
	q.watches.notify(p.Job)
	if p.Head != nil {
		return nil, q.planHead(ctx, worker, p)
	}
	return nil, nil
}

func (q *Queue) onDone(ctx context.Context, worker string, body []byte) (any, error) {
	d, err := decode[transcode.Done](body)
	if err != nil {
		return nil, err
	}
	return unlessFailed(q.accept(ctx, worker, d))
}

func (q *Queue) onFailed(ctx context.Context, worker string, body []byte) (any, error) {
	f, err := decode[transcode.Failed](body)
	if err != nil {
		return nil, err
	}
	return unlessFailed(q.giveBack(ctx, worker, f))
}

// onLogs passes a board's log on. Without a receiver, a worker was not asked for it.
func (q *Queue) onLogs(_ context.Context, worker string, body []byte) (any, error) {
	logs, err := decode[transcode.Logs](body)
	if err != nil {
		return nil, err
	}
	if q.receiveLogs != nil {
		q.receiveLogs(worker, logs.Lines)
	}
	return transcode.Verdict{Accepted: true}, nil
}

// unlessFailed returns a nil reply if there is an error.
func unlessFailed[T any](reply T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return reply, nil
}
