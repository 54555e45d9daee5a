package queue

import (
	"context"
	"fmt"
	"time"

	"pibootd/pkg/transcode"
)

// A LegacyTrouble describes the latest failures of a legacy muxer.
type LegacyTrouble struct {
	Worker   string // as LegacyMuxer.Name
	Failures int    // failed attempts since its latest success
	Job      int64  // of the latest
	Reason   string // of the latest
	At       time.Time
}

// maxTroubleRows bounds the attempts that LegacyTroubles reads.
const maxTroubleRows = 1000

// LegacyTroubles returns the legacy muxers whose latest attempt failed, the latest
// first.
func (q *Queue) LegacyTroubles(ctx context.Context) ([]LegacyTrouble, error) {
	rows, err := q.store.Query(ctx, `
		SELECT worker, job, ended, outcome, detail FROM attempts
		WHERE worker LIKE ? AND outcome IN (?, ?, ?, ?) ORDER BY ended DESC LIMIT ?`,
		transcode.LegacyMuxerPrefix+"%", EventDone, EventFailed, EventExpired, EventGivenUp, maxTroubleRows)
	if err != nil {
		return nil, fmt.Errorf("queue: reading muxers' attempts: %w", err)
	}
	defer rows.Close()
	var troubles []LegacyTrouble
	at, wellAgain := map[string]int{}, map[string]bool{}
	for rows.Next() {
		var t LegacyTrouble
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
