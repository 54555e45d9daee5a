package queue

import (
	"context"
	"fmt"
	"time"

	"pibootd/pkg/transcode"
)

// A ForeignTrouble is what a foreign muxer has not brought to an end lately.
type ForeignTrouble struct {
	Worker   string // as Foreign.Name
	Failures int    // attempts that came to nothing since its latest that did not
	Job      int64  // of the latest
	Reason   string // of the latest
	At       time.Time
}

// maxTroubleRows bounds the attempts that are looked at for troubles.
const maxTroubleRows = 1000

// ForeignTroubles returns the foreign muxers whose latest attempt came to
// nothing, the latest first.
func (q *Queue) ForeignTroubles(ctx context.Context) ([]ForeignTrouble, error) {
	rows, err := q.store.Query(ctx, `
		SELECT worker, job, ended, outcome, detail FROM attempts
		WHERE worker LIKE ? AND outcome IN (?, ?, ?, ?) ORDER BY ended DESC LIMIT ?`,
		transcode.LegacyMuxerPrefix+"%", EventDone, EventFailed, EventExpired, EventGivenUp, maxTroubleRows)
	if err != nil {
		return nil, fmt.Errorf("queue: reading muxers' attempts: %w", err)
	}
	defer rows.Close()
	var troubles []ForeignTrouble
	at, wellAgain := map[string]int{}, map[string]bool{}
	for rows.Next() {
		var t ForeignTrouble
		var ended int64
		var outcome string
		if err := rows.Scan(&t.Worker, &t.Job, &ended, &outcome, &t.Reason); err != nil {
			return nil, fmt.Errorf("queue: reading muxers' attempts: %w", err)
		}
		i, known := at[t.Worker]
		switch {
		case wellAgain[t.Worker]:
			continue
		case outcome == EventDone:
			wellAgain[t.Worker] = true
			continue
		case !known:
			i, at[t.Worker], t.At = len(troubles), len(troubles), time.Unix(0, ended)
			troubles = append(troubles, t)
		}
		troubles[i].Failures++
	}
	return troubles, rows.Err()
}
