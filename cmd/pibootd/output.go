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
	drawn bool // the cursor stands in a line of ours
}

const (
	drawEvery = 100 * time.Millisecond
	lineEvery = 5 * time.Second
)

// update shows that done of total units of step are done, in words of text;
// total 0 means unknown.
func (m *meter) update(step string, done, total int64, text string) {
	now := time.Now()
	begins := step != m.step
	if begins {
		m.step, m.since = step, now
	}
	every := lineEvery
	if m.terminal {
		every = drawEvery
	}
	if !begins && now.Sub(m.shown) < every && (total == 0 || done < total) {
		return
	}
	m.shown = now
	m.draw(m.line(now, done, total, text))
}

func (m *meter) line(now time.Time, done, total int64, text string) string {
	line := m.step
	if text != "" {
		line += "  " + text
	}
	if total > 0 {
		line += fmt.Sprintf("  %d %%", done*100/total)
	}
	if left := remaining(now.Sub(m.since), done, total); left > time.Second {
		line += "  ETA " + left.Round(time.Second).String()
	}
	return line
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

// progress shows a step of which done of total units are done.
func (m *meter) progress(step string, done, total int64) { m.update(step, done, total, "") }
