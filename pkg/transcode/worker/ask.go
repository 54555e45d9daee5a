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
	// readSpeed is how fast the queue at least reads a result's files, bytes a
	// second: it answers when it has compared their hashes.
	readSpeed = 20 << 20
)

// question are the messages that are answered.
type question interface {
	transcode.Hello | transcode.Claim | transcode.Done | transcode.Failed
}

// ask puts a question to the queue again and again until it is answered, so
// that a daemon that restarts meanwhile costs a pause and no more. It returns
// an error only when ctx ends.
func ask[A any, Q question](ctx context.Context, s *session, subject string, q Q) (A, error) {
	var answer A
	body, err := json.Marshal(q)
	if err != nil {
		return answer, fmt.Errorf("asking %s: %w", subject, err)
	}
	for wait := s.retryAfter(); ; wait = longer(wait) {
		err := s.askOnce(ctx, subject+"."+s.Config.Name, body, patienceFor(q), &answer)
		if err == nil {
			return answer, nil
		}
		s.log().Debug("queue does not answer", "subject", subject, "err", err)
		if !pause.For(ctx, wait) {
			return answer, fmt.Errorf("asking %s: %w", subject, ctx.Err())
		}
	}
}

// patienceFor is how long the answer to a question may take.
func patienceFor[Q question](q Q) time.Duration {
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

func (s *session) askOnce(ctx context.Context, subject string, body []byte, within time.Duration, answer any) error {
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

// tell sends a message that nobody misses if lost. It may be answered in inbox.
func (s *session) tell(subject, inbox string, p transcode.Progress) {
	body, err := json.Marshal(p)
	if err != nil {
		return // an infinite rate; there is no other way
	}
	if err := s.nc.PublishRequest(subject+"."+s.Config.Name, inbox, body); err != nil {
		s.log().Debug("progress not told", "err", err)
	}
}

func longer(wait time.Duration) time.Duration { return min(2*wait, longestPause) }
