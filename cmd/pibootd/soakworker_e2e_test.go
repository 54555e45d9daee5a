//go:build e2e

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"pibootd/internal/pause"
	"pibootd/pkg/netlab"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/worker"
)

// A soakWorker is the worker of a board without ffmpeg: it hands in what was recorded.
type soakWorker struct {
	*soakBoard
	dice    // its own, because the board uses its root at the same time
	config  worker.Config
	conn    *nats.Conn
	scratch *mounted
	session string
}

// helloEvery is how often a worker says hello: a daemon that was restarted gives no work to one
// that has not.
const helloEvery = 5 * time.Second

// work says hello, claims units and hands in their results, until ctx ends.
func (b *soakBoard) work(ctx context.Context, host *netlab.Namespace, config worker.Config) {
	w := &soakWorker{soakBoard: b, dice: b.soak.dice(workRole + uint64(b.pi.Serial)), config: config, session: rand.Text(), scratch: &mounted{host: host, path: config.ScratchExport}}
	defer w.scratch.close()
	var err error
	w.conn, err = nats.Connect(config.QueueURL, nats.UserInfo(config.Name, config.Token), nats.CustomInboxPrefix("_INBOX."+config.Name), nats.SetCustomDialer(w.scratch),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(500*time.Millisecond), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		b.note("worker of %s: %v", config.Name, err)
		return
	}
	defer w.conn.Close()
	js, err := jetstream.New(w.conn)
	if err != nil {
		b.note("worker of %s: %v", config.Name, err)
		return
	}
	hello := transcode.Hello{
		Protocol: transcode.Protocol, Hostname: config.Name, Version: "soak", Arch: "arm64", FFmpeg: "5.1", CPUs: 4, Encoders: []string{transcode.EncoderX264},
	}
	woken := true // by its start
	for said := (time.Time{}); ctx.Err() == nil; {
		if time.Since(said) > helloEvery {
			var reply transcode.HelloReply
			w.ask(ctx, transcode.SubjectHello, hello, &reply)
			said = time.Now()
		}
		if !(woken || w.hasWork(ctx, js)) || !w.claim(ctx) {
			w.between(ctx, time.Second/2, 2*time.Second)
		}
		woken = false
	}
}

// ask asks until it is answered.
func (w *soakWorker) ask(ctx context.Context, subject string, request, reply any) {
	body, err := json.Marshal(request)
	if err != nil {
		w.note("%s: %v", subject, err)
		return
	}
	for wait := time.Second / 2; ctx.Err() == nil; wait = min(2*wait, 10*time.Second) { // as the real worker
		within, cancel := context.WithTimeout(ctx, answerTime)
		answer, err := w.conn.RequestWithContext(within, subject+"."+w.config.Name, body)
		cancel()
		if err == nil && json.Unmarshal(answer.Data, reply) == nil {
			return
		}
		pause.For(ctx, wait)
	}
}

// hasWork waits for a message that there is work.
func (w *soakWorker) hasWork(ctx context.Context, js jetstream.JetStream) bool {
	within, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	consumer, err := js.Consumer(within, transcode.StreamWork, transcode.WorkConsumer(transcode.LaneAny, transcode.PriorityNormal))
	if err != nil {
		return false
	}
	message, err := consumer.Next(jetstream.FetchContext(within))
	if err != nil {
		return false
	}
	_ = message.DoubleAck(within) // a message that is not acknowledged wakes another
	return true
}

// claim claims a unit, and does it. It reports whether there was one.
func (w *soakWorker) claim(ctx context.Context) bool {
	var grant transcode.ClaimReply
	w.ask(ctx, transcode.SubjectClaim, transcode.Claim{Session: w.session}, &grant)
	if grant.Refused != "" || ctx.Err() != nil {
		return false
	}
	w.do(ctx, grant)
	return true
}

// do hands in the recorded result of a unit, after a time in which it reports progress.
func (w *soakWorker) do(ctx context.Context, g transcode.ClaimReply) {
	recorded, known := w.recorded.results[g.Unit.ID]
	spec, err := json.Marshal(g.Unit)
	if !known || err != nil || string(spec) != recorded.spec {
		w.note("unit %s is %s, %v; want it to be %s", g.Unit.ID, spec, err, recorded.spec)
		return
	}
	working, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	defer beating.Wait()
	defer stop()
	beating.Go(func() { w.beat(working, stop, g) })
	if !w.between(working, 0, 6*time.Second) {
		return
	}
	var verdict transcode.Verdict
	switch err := w.write(working, g, recorded.result); {
	case working.Err() != nil: // the board has no power, or the attempt no longer counts
		return
	case isFull(err):
		w.ask(ctx, transcode.SubjectFailed, transcode.Failed{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Reason: "the media share is full: " + err.Error()}, &verdict)
		return
	case err != nil && w.revoked(g):
		return
	case err != nil:
		w.note("scratch of %s, unit %d/%s: %v", w.config.Name, g.Job, g.Unit.ID, err)
		return
	}
	w.ask(ctx, transcode.SubjectDone, transcode.Done{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Result: recorded.result}, &verdict)
	if verdict.Accepted {
		w.noteAccepted(strconv.FormatInt(g.Job, 10)+"/"+g.Unit.ID, g.Attempt)
	}
}

// beat reports progress until ctx ends, and stops what no longer counts.
func (w *soakWorker) beat(ctx context.Context, stop context.CancelFunc, g transcode.ClaimReply) {
	inbox := w.conn.NewInbox()
	replies, err := w.conn.SubscribeSync(inbox)
	if err != nil {
		return // the connection is closed
	}
	defer func() { _ = replies.Unsubscribe() }()
	body, _ := json.Marshal(transcode.Progress{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt})
	for pause.For(ctx, 2*time.Second) {
		_ = w.conn.PublishRequest(transcode.SubjectProgress+"."+w.config.Name, inbox, body)
		if told, _ := replies.NextMsg(time.Microsecond); told != nil {
			stop()
		}
	}
}

// revoked reports whether the attempt's directory was removed because another one was accepted.
func (w *soakWorker) revoked(g transcode.ClaimReply) bool {
	_, err := os.Lstat(filepath.Join(w.state, "media", transcode.ScratchOf(w.config.Name), transcode.ScratchName(g.Job, g.Unit.ID, g.Attempt)))
	return errors.Is(err, os.ErrNotExist)
}

// write writes the files of a result into the scratch, as ffmpeg would.
func (w *soakWorker) write(ctx context.Context, g transcode.ClaimReply, r transcode.Result) error {
	dir := transcode.ScratchName(g.Job, g.Unit.ID, g.Attempt)
	for _, piece := range transcode.Pieces(g.Unit, r) {
		files := piece.Result.Files()
		if len(files) == 0 {
			continue
		}
		if err := w.scratch.mkdir(ctx, path.Join(dir, piece.Dir)); err != nil {
			return err
		}
		for _, file := range files {
			if err := w.scratch.write(ctx, path.Join(dir, piece.Dir, file.Name), w.recorded.content[file.SHA256]); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode runs a real worker, and kills it again and again while the soak is busy.
func (s *soak) encode(busy, alive context.Context, i int) {
	for d := s.dice(workerRole + uint64(i)); alive.Err() == nil; {
		cmd := exec.Command(s.encoders[i][0], s.encoders[i][1:]...)
		if err := s.net.Do(cmd.Start); err != nil {
			s.note("starting a worker: %v", err)
			return
		}
		if d.between(busy, s.pace, 4*s.pace) {
			s.count("workers killed")
		} else {
			<-alive.Done()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}
