package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
)

// Limits of the speeds that are stored of each worker.
const (
	maxSpeeds = 32  // encoders and heights
	newWeight = 0.3 // of the latest unit in the moving average
)

// ErrNoWorker reports that no worker of this name has ever said hello.
var ErrNoWorker = errors.New("no such worker")

// loadWorkers reads the stored workers.
func (q *Queue) loadWorkers(ctx context.Context) error {
	rows, err := q.store.Query(ctx, `SELECT name, drained, speeds FROM workers`)
	if err != nil {
		return fmt.Errorf("queue: reading workers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var m memory
		var speeds column[[]transcode.Speed]
		if err := rows.Scan(&name, &m.drained, &speeds); err != nil {
			return fmt.Errorf("queue: reading workers: %w", err)
		}
		m.speeds = speeds.V
		q.workers.remember(name, m)
	}
	return rows.Err()
}

// measure records how fast a worker has done a unit, by the daemon's clock.
func (q *Queue) measure(ctx context.Context, t *transaction, u unitRow, key attemptKey) error {
	worker := u.workerOf(key.attempt)
	c, ok := q.claims.get(worker, key)
	if !ok || c.adopted || u.spec.Kind != transcode.KindVideo || u.frames == 0 {
		return nil
	}
	took := t.now.Sub(c.granted).Seconds()
	if took <= 0 {
		return nil
	}
	speed := speedOf(u.spec, float64(u.frames)/took)
	if u.spec.Live != nil {
		speed.Encoder = liveEncoder(speed.Encoder)
	}
	speeds := average(q.workers.memory(worker).speeds, speed)
	t.speeds = append(t.speeds, workerSpeeds{worker, speeds})
	return t.exec(ctx, `INSERT INTO workers (name, speeds) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET speeds = excluded.speeds`,
		worker, column[[]transcode.Speed]{speeds})
}

type workerSpeeds struct {
	worker string
	speeds []transcode.Speed
}

func speedOf(u transcode.Unit, fps float64) transcode.Speed {
	encoder := u.Video.Encoder
	if encoder == "" {
		encoder = transcode.EncoderX264
	}
	return transcode.Speed{Encoder: encoder, Lines: u.Video.Lines(), FPS: fps}
}

// average adds a measured speed to the moving averages.
func average(speeds []transcode.Speed, s transcode.Speed) []transcode.Speed {
	i := slices.IndexFunc(speeds, func(known transcode.Speed) bool { return known.Encoder == s.Encoder && known.Lines == s.Lines })
	rest := slices.Clone(speeds)
	if i >= 0 {
		s.FPS = newWeight*s.FPS + (1-newWeight)*speeds[i].FPS
		rest = slices.Delete(rest, i, i+1)
	}
	if len(rest) >= maxSpeeds {
		rest = rest[:maxSpeeds-1]
	}
	return slices.Insert(rest, 0, s) // the one least used is last
}

// estimate returns how long a worker will need for a unit, from its speed with the
// same encoder at the nearest height.
func (ws *workers) estimate(name string, u transcode.Unit) (time.Duration, bool) {
	if u.Video == nil {
		return 0, false
	}
	want := speedOf(u, 0)
	var nearest transcode.Speed
	for _, s := range ws.memory(name).speeds {
		if s.Encoder == want.Encoder && s.FPS > 0 && (nearest.FPS == 0 || abs(s.Lines-want.Lines) < abs(nearest.Lines-want.Lines)) {
			nearest = s
		}
	}
	if nearest.FPS == 0 {
		return 0, false
	}
	scale := 1.0 // the work grows with the picture
	if want.Lines > 0 && nearest.Lines > 0 {
		scale = float64(want.Lines*want.Lines) / float64(nearest.Lines*nearest.Lines)
	}
	return time.Duration(min(float64(u.Frames())/nearest.FPS*scale, 1e6) * float64(time.Second)), true
}

func abs(n int) int { return max(n, -n) }

// Drain makes a worker finish its unit and claim no more; with on false it may claim
// again. The setting is stored. The error matches ErrNoWorker if there is no worker of
// this name.
func (q *Queue) Drain(ctx context.Context, worker string, on bool) error {
	if _, ok := q.workers.get(worker); !ok && !q.workers.memory(worker).drained && !broker.ValidWorker(worker) {
		return fmt.Errorf("queue: draining %s: %w", clip(strings.ToValidUTF8(worker, ""), pi.MaxLabel), ErrNoWorker)
	}
	err := q.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO workers (name, drained) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET drained = excluded.drained`, worker, on)
		return err
	})
	if err != nil {
		return fmt.Errorf("queue: draining %s: %w", worker, err)
	}
	q.workers.drain(worker, on)
	wake(q.announce)
	return nil
}
