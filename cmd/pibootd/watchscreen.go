package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/timeline"
	"pibootd/pkg/web"
)

// A screen is a terminal on which events scroll up, above a bar for each board that
// boots or does not get further.
type screen struct {
	out    io.Writer
	width  int
	colour bool
	bars   int // lines that are drawn at the bottom
}

// Colours of ECMA-48 §8.3.117.
const (
	red, green, amber, faint = "31", "32", "33", "2"
	eraseBelow               = "\x1b[J"
)

// maxBars is how many boards have a bar: the events need room, too.
const maxBars = 10

// paint returns text in a colour.
func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// print prints lines above the bars, which it erases.
func (s *screen) print(text string) error {
	_, err := io.WriteString(s.out, s.erase()+text+"\n")
	return err
}

func (s *screen) erase() string {
	if s.bars == 0 {
		return ""
	}
	up := s.bars
	s.bars = 0
	return fmt.Sprintf("\x1b[%dA\r", up) + eraseBelow
}

// draw draws the bars anew.
func (s *screen) draw(boards []web.Pi, now time.Time) error {
	var lines []string
	for _, board := range shownAsBars(boards) {
		if len(lines) < maxBars {
			lines = append(lines, s.bar(board, now))
		}
	}
	text := s.erase()
	if len(lines) > 0 {
		lines = append(lines, s.paint(faint, s.fit(summary(boards))))
		text += strings.Join(lines, "\n") + "\n"
	}
	s.bars = len(lines)
	if text == "" {
		return nil
	}
	_, err := io.WriteString(s.out, text)
	return err
}

// shownAsBars returns the boards that are on their way or stuck, those first.
func shownAsBars(boards []web.Pi) (some []web.Pi) {
	for _, state := range []diagnosis.State{diagnosis.Stuck, diagnosis.Booting} {
		for _, board := range boards {
			if board.Diagnosis.State == state {
				some = append(some, board)
			}
		}
	}
	return some
}

// summary counts boards by state, such as "2 booting, 1 stuck, 9 well".
func summary(boards []web.Pi) string {
	var parts []string
	for _, state := range []diagnosis.State{diagnosis.Stuck, diagnosis.Booting, diagnosis.Slow, diagnosis.Well, diagnosis.Off} {
		n := 0
		for _, board := range boards {
			if board.Diagnosis.State == state {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}

// bar is a board's line: its name, a mark for each stage, and what it does or what is
// wrong with it.
func (s *screen) bar(board web.Pi, now time.Time) string {
	d := board.Diagnosis
	late := !d.Deadline.IsZero() && now.After(d.Deadline)
	colour := green
	switch {
	case d.State == diagnosis.Stuck:
		colour = red
	case late:
		colour = amber
	}
	stages := diagnosis.Stages()
	at := slices.Index(stages, d.Stage)
	text := fmt.Sprintf("%-10s ", board.Name)
	tail := "  " + strings.TrimPrefix(d.Sentence, board.Name+" ")
	if d.State == diagnosis.Booting && len(d.Stages) > 0 {
		tail = "  " + stageText(d.Stages[len(d.Stages)-1], now)
	}
	room := s.width - utf8.RuneCountInString(text) - len(stages) - 1
	return text + s.paint(colour, strings.Repeat("■", at+1)) + s.paint(faint, strings.Repeat("□", len(stages)-at-1)) + fitIn(tail, room)
}

// stageText is how long a stage has lasted, and how long it usually does.
func stageText(stage diagnosis.Timed, now time.Time) string {
	text := fmt.Sprintf("%s, %.0f s", stage.Stage, max(0, now.Sub(stage.Started).Seconds()))
	if stage.Median > 0 {
		text += fmt.Sprintf(", usually %.0f s", stage.Median)
	}
	return text
}

func (s *screen) fit(text string) string { return fitIn(text, s.width-1) }

// fitIn cuts a text that a terminal would wrap, so that the bars stay what they are
// counted as.
func fitIn(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:max(0, width-1)]) + "…"
	}
	return text
}

// colourOf is the colour of an event: red for what needs a look, and faint for what
// boot code does in passing.
func colourOf(kind timeline.Kind) string {
	switch kind {
	case timeline.WorkerOnline, timeline.UnitDone:
		return green
	case timeline.FileMissing, timeline.FileAborted:
		return faint
	case timeline.WorkerOffline, timeline.Outdated, timeline.Stranger, timeline.OtherServer, timeline.UnderVoltage, timeline.Unknown:
		return amber
	case timeline.Nak, timeline.Declined, timeline.FileFailed, timeline.MountRefused, timeline.UnitFailed, timeline.Conflict, timeline.OldHandle, timeline.RootFailed,
		timeline.Panic, timeline.Oops, timeline.OutOfMemory, timeline.LoginRefused, timeline.Misuse:
		return red
	}
	return ""
}
