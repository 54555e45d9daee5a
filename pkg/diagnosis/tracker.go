package diagnosis

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// A Tracker has the diagnoses of all boards. Set its fields before use; its methods are safe for
// concurrent use.
type Tracker struct {
	Timeline *timeline.Log
	// Facts returns what is known of a board besides its timeline. model is what its boot code
	// says, "" if nothing. What is in its root is asked for only while it boots. nil: FactsOf.
	Facts  func(board registry.Pi, model string, boots bool) Facts
	Boards func() []registry.Pi // that Run watches
	Log    *slog.Logger
	Pace   int // of boards; see Board

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
	d, _, err := t.of(ctx, board)
	return d, err
}

func (t *Tracker) of(ctx context.Context, board registry.Pi) (Diagnosis, *Board, error) {
	known := t.known(board)
	if err := t.follow(ctx, board, known); err != nil {
		return Diagnosis{}, nil, err
	}
	facts := t.facts(board, &known.board, known.board.boots())
	known.board.Seen(facts.Seen)
	return known.board.At(time.Now(), facts), &known.board, nil
}

// facts returns what is known of a board now. Its root is looked at only if the board boots, because
// that reads a dozen files.
func (t *Tracker) facts(board registry.Pi, b *Board, boots bool) Facts {
	facts := FactsOf(board)
	if t.Facts != nil {
		facts = t.Facts(board, b.boot.model, boots)
	}
	b.Unseen, b.Addr = facts.Unseen, facts.IP
	if facts.Kernel != "" { // it was asked for
		b.Kernel, b.Generation = facts.Kernel, bootconfig.Model(facts.Model).Generation()
	}
	return facts
}

func (t *Tracker) known(board registry.Pi) *tracked {
	if t.boards == nil {
		t.boards = map[pi.Serial]*tracked{}
	}
	known, ok := t.boards[board.Serial]
	if !ok {
		known = &tracked{board: Board{Pace: t.Pace}}
		t.boards[board.Serial] = known
		t.facts(board, &known.board, true)
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
		if known.board.boot.stage == "" { // its first boot may begin, and its root may have changed
			t.facts(board, &known.board, true)
		}
		for _, e := range events {
			known.board.Follow(e)
			known.after = e.ID
		}
	}
}

// lookEvery is how often Run looks for what has changed.
const lookEvery = 2 * time.Second

// Run records on each board's timeline what is wrong with it, once, and that it is well again,
// until ctx ends.
func (t *Tracker) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, board := range t.Boards() {
			if err := t.tell(ctx, board); err != nil && ctx.Err() == nil {
				t.Log.Warn("board not diagnosed", "component", "diagnosis", "pi", board.Name, "err", err)
			}
		}
	}
}

// tell records a diagnosis that differs from the last one that was recorded. On its way to being
// well again a board is still what it was.
func (t *Tracker) tell(ctx context.Context, board registry.Pi) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	d, b, err := t.of(ctx, board)
	if err != nil {
		return err
	}
	if !d.news(b.told) {
		return nil
	}
	b.told = d.Code
	t.Timeline.Record(timeline.Event{
		At: time.Now(), Board: board.Serial.String(), Name: board.Name, Kind: timeline.Diagnosed, Code: string(d.Code), Detail: d.Line(),
	})
	return nil
}

// news reports whether a diagnosis is to be recorded after that with the code told.
func (d Diagnosis) news(told Code) bool {
	fine := func(c Code) bool { return c == "" || c == OK || c == ShutDown }
	switch {
	case d.Code == OnItsWay || d.Code == NeverSeen || d.Code == told:
		return false
	case fine(d.Code):
		return !fine(told)
	}
	return true
}
