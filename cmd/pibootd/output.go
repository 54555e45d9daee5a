package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON prints v for scripts.
func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// printJSONLine prints v as one line of a stream for scripts.
func printJSONLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// printList is printTable, with empty in place of a heading that has nothing
// below it.
func printList(w io.Writer, rows [][]string, empty string) error {
	if len(rows) == 1 {
		_, err := fmt.Fprintln(w, empty)
		return err
	}
	return printTable(w, rows)
}

// printTable prints rows in aligned columns; the first row is the heading.
func printTable(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(table, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return table.Flush()
}

// byteText returns n in the unit that keeps it short.
func byteText(n int64) string {
	const kilo = 1000
	if n < kilo {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= kilo {
		value /= kilo
		unit++
	}
	return fmt.Sprintf("%.1f %cB", value, " kMGTPE"[unit])
}

// since returns how long ago t was, in one unit.
func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

// A meter shows how far a long piece of work is. On a terminal it draws over
// itself; elsewhere it prints a line when a step begins and then now and then.
type meter struct {
	w        io.Writer
	terminal bool

	step  string
	since time.Time // the step's beginning
	shown time.Time
	whole bool // the step was shown to be done
	drawn bool // the cursor stands in a line of ours
}

const (
	drawEvery = 100 * time.Millisecond
	lineEvery = 5 * time.Second
)

// progress shows a step of which done of total units are done; total 0 means
// that the end is unknown.
func (m *meter) progress(step string, done, total int64) {
	now := time.Now()
	if step != m.step {
		m.since = now
	}
	m.update(step, done, total, meterNote{left: remaining(now.Sub(m.since), done, total)})
}

// A meterNote is what else is known of a step.
type meterNote struct {
	text string
	left time.Duration // 0: unknown
}

// update is progress told by somebody who knows more.
func (m *meter) update(step string, done, total int64, note meterNote) {
	now := time.Now()
	begins, whole := step != m.step, total > 0 && done >= total
	every := lineEvery
	if m.terminal {
		every = drawEvery
	}
	if !begins && whole == m.whole && now.Sub(m.shown) < every {
		return
	}
	m.step, m.whole, m.shown = step, whole, now
	line := step
	if note.text != "" {
		line += "  " + note.text
	}
	if total > 0 {
		line += fmt.Sprintf("  %d %%", done*100/total)
	}
	if note.left >= time.Second {
		line += "  ETA " + note.left.Round(time.Second).String()
	}
	m.draw(line)
}

// remaining returns how long the rest takes if it goes on as so far; 0 where
// nothing can be said.
func remaining(took time.Duration, done, total int64) time.Duration {
	if done <= 0 || total <= done || took < time.Second {
		return 0
	}
	return time.Duration(float64(took) * float64(total-done) / float64(done))
}

func (m *meter) draw(line string) {
	if m.terminal {
		fmt.Fprintf(m.w, "\r\033[K%s", line)
		m.drawn = true
		return
	}
	fmt.Fprintln(m.w, line)
}

// clear takes the meter off the terminal.
func (m *meter) clear() {
	if m.drawn {
		fmt.Fprint(m.w, "\r\033[K")
		m.drawn = false
	}
}
