package timeline

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func TestWhatRepeatsIsRecordedOnceAMinute(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	stop := run(t, l)
	at := func(d time.Duration, board int, kind Kind, rule string) {
		l.RecordLimited(Event{At: noon.Add(d), Board: name(board), Kind: kind, Detail: rule}, rule)
	}
	at(0, 0, Misuse, "quota")
	at(time.Second, 0, Misuse, "quota")     // left out
	at(59*time.Second, 0, Misuse, "quota")  // left out
	at(59*time.Second, 0, Misuse, "links")  // another rule
	at(59*time.Second, 0, LoginRefused, "") // another kind
	at(59*time.Second, 1, Misuse, "quota")  // another board
	at(60*time.Second, 0, Misuse, "quota")  // a minute later
	at(-24*time.Hour, 0, Misuse, "quota")   // the clock was set back
	at(-24*time.Hour+1, 0, Misuse, "quota") // left out
	at(-23*time.Hour, 0, Misuse, "quota")   // an hour later
	stop()
	events, err := l.Events(t.Context(), "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %s %s", e.Board, e.Kind, e.Detail))
	}
	const more = " (%d more times since the last such event)"
	want := []string{
		name(0) + " misuse quota", name(0) + " misuse links", name(0) + " login_refused ", name(1) + " misuse quota",
		name(0) + " misuse quota" + fmt.Sprintf(more, 2), name(0) + " misuse quota", name(0) + " misuse quota" + fmt.Sprintf(more, 1),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("recorded\n%q; want\n%q", got, want)
	}
}

// However many names are tried, what is remembered is bounded, and a board whose
// events are remembered keeps its count.
func TestWhatIsRememberedOfRepetitionsIsBounded(t *testing.T) {
	var l limits
	for i := range 3 * maxLimited {
		l.admit(limitKey{fmt.Sprint(i), LoginRefused, ""}, noon)
	}
	if n := len(l.last); n != maxLimited {
		t.Errorf("%d are remembered; want %d", n, maxLimited)
	}
	if _, ok := l.admit(limitKey{"new", LoginRefused, ""}, noon.Add(limitEvery)); !ok || len(l.last) != 1 {
		t.Errorf("a minute later: recorded %t, %d remembered; want true, 1", ok, len(l.last))
	}
}

// Whoever tries a board's doors for days pushes out none of what the board did,
// and is not taken for it.
func TestStrangersAreNotTheBoard(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	l.PerBoard = 40
	var events []Event
	for i := range 30 {
		events = append(events, numbered(i, 0))
	}
	own := noon.Add(time.Second)
	events = append(events, Event{At: own, Board: name(0), Kind: Misuse})
	for i := range 100 {
		kind := []Kind{LoginRefused, Stranger}[i%2]
		events = append(events, Event{At: noon.Add(time.Hour), Board: name(0), Kind: kind})
	}
	write(t, l, events...)
	kept, err := l.Events(t.Context(), name(0), 0, 0)
	if err != nil || len(kept) != 35 || kept[0].Detail != "0" || kept[34].Kind != Stranger {
		t.Errorf("%d events are kept, %v; want all 31 of the board's, and the last 4", len(kept), err)
	}
	last, ok, err := l.Last(t.Context(), name(0))
	if err != nil || !ok || !last.At.Equal(own) {
		t.Errorf("the board's last event is %v, %t, %v; want its own", last, ok, err)
	}
}
