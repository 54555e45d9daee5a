package diagnosis

import (
	"context"
	"sync"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// A Tracker has the diagnoses of all boards. Set its fields before use; its methods are safe for
// concurrent use.
type Tracker struct {
	Timeline *timeline.Log
	// Facts returns what is known of a board besides its timeline. model is what its boot code
	// says, "" if nothing. nil: FactsOf.
	Facts func(board registry.Pi, model string) Facts

	mu     sync.Mutex // held to read the timeline too: a diagnosis waits for another
	boards map[pi.Serial]*tracked
}

type tracked struct {
	after int64 // the last event that was followed
	board Board
}

// Of returns the diagnosis of a board at this moment.
func (t *Tracker) Of(ctx context.Context, board registry.Pi) (Diagnosis, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.known(board)
	facts := FactsOf(board)
	if t.Facts != nil {
		facts = t.Facts(board, known.board.boot.model)
	}
	known.board.Kernel = facts.Kernel
	if err := t.follow(ctx, board, known); err != nil {
		return Diagnosis{}, err
	}
	return known.board.At(time.Now(), facts), nil
}

func (t *Tracker) known(board registry.Pi) *tracked {
	if t.boards == nil {
		t.boards = map[pi.Serial]*tracked{}
	}
	known, ok := t.boards[board.Serial]
	if !ok {
		known = &tracked{}
		t.boards[board.Serial] = known
	}
	return known
}

// follow reads the events that have come since the last time.
func (t *Tracker) follow(ctx context.Context, board registry.Pi, known *tracked) error {
	for {
		events, err := t.Timeline.Events(ctx, board.Serial.String(), known.after, 0)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			known.board.Follow(e)
			known.after = e.ID
		}
	}
}
