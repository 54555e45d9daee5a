package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

const (
	answerWithin = 5 * time.Second
	longestPause = 10 * time.Second
	// readSpeed is the least speed, in bytes per second, at which the queue is expected
	// to hash a result's files before it replies.
	readSpeed = 20 << 20
)

// requestMessage are the messages that the queue replies to.
type requestMessage interface {
	transcode.Hello | transcode.Claim | transcode.Done | transcode.Failed | transcode.Logs
}

// request repeats a request until the queue replies, so that a restart of the daemon
// costs no more than a pause. It returns an error only when ctx ends.
func request[A any, Q requestMessage](ctx context.Context, s *session, subject string, q Q) (A, error) {
	var answer A
	body, err := json.Marshal(q)
	if err != nil {
		return answer, fmt.Errorf("asking %s: %w", subject, err)
	}
	for wait := s.retryAfter(); ; wait = longer(wait) {
		err := s.requestOnce(ctx, subject+"."+s.Config.Name, body, patienceFor(q), &answer)
		if err == nil {
			return answer, nil
		}
		s.log().Debug("queue does not answer", "subject", subject, "err", err)
		if !pause.For(ctx, wait) {
			return answer, fmt.Errorf("asking %s: %w", subject, ctx.Err())
		}
	}
}

// patienceFor returns how long the reply to a request may take.
func patienceFor[Q requestMessage](q Q) time.Duration {
	wait := answerWithin
	if done, ok := any(q).(transcode.Done); ok {
		for _, r := range append([]transcode.Result{done.Result}, done.Result.Others...) {
			for _, f := range r.Files() {
				wait += time.Duration(float64(f.SizeBytes) / readSpeed * float64(time.Second))
			}
		}
	}
	return wait
}

func (s *session) requestOnce(ctx context.Context, subject string, body []byte, within time.Duration, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	msg, err := s.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return err
	}
	if len(msg.Data) == 0 {
		return errors.New("the answer is empty")
	}
	return json.Unmarshal(msg.Data, answer)
}

// sendProgress sends progress, which may get lost. The queue may reply to inbox.
func (s *session) sendProgress(subject, inbox string, p transcode.Progress) {
	body, err := json.Marshal(p)
	if err != nil {
		return // an infinite rate; there is no other way
	}
	if err := s.nc.PublishRequest(subject+"."+s.Config.Name, inbox, body); err != nil {
		s.log().Debug("progress not sent", "err", err)
	}
}

func longer(wait time.Duration) time.Duration { return min(2*wait, longestPause) }
