package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	drawInterval = 100 * time.Millisecond // between two draws of a bar
	lineInterval = 10 * time.Second       // between two lines where there is no terminal

	minBar, maxBar = 10, 30 // columns of a bar
)

// A meter shows the progress of a long operation. On a terminal it draws a bar
// with rate and remaining time over itself. Elsewhere it prints a line only when
// something has changed, and at most one in lineInterval.
type meter struct {
	w        io.Writer
	terminal bool
	width    int // of the terminal

	// label is shown instead of the names of steps if it is set.
	label string
	// describe returns what to show for a step; nil means describeStep.
	describe func(step string) (label string, unit unit)

	mu    sync.Mutex
	step  string // the step that was reported last
	since time.Time
	first int64 // what was done at since

	latest  progress
	shown   progress
	shownAt time.Time
	pending *time.Timer // prints latest when lineInterval is over
	drawn   bool        // the cursor is in a line of ours
}

func newMeter(std streams) *meter {
	width := std.width
	if width == 0 {
		width = defaultWidth
	}
	return &meter{w: std.err, terminal: std.terminal, width: width}
}

// A unit is what the progress of a step is counted in.
type unit string

const (
	bytesUnit    unit = "bytes"
	framesUnit   unit = "frames"
	filesUnit    unit = "files"
	packagesUnit unit = "packages"
	noUnit       unit = ""
)

// A progress is how far an operation is.
type progress struct {
	label       string
	done, total int64 // total 0: unknown
	unit        unit
	rate        float64       // units each second; 0: unknown
	left        time.Duration // 0: unknown
}

// describeStep returns what to show for uploads and the steps of pkg/rootfs.
func describeStep(step string) (label string, unit unit) {
	switch step {
	case "upload":
		return "uploading", bytesUnit
	case "download":
		return "downloading packages", bytesUnit
	case "package lists":
		return "downloading package lists", noUnit
	case "install":
		return "installing packages", noUnit
	case "unpack":
		return "unpacking", bytesUnit
	case "copy":
		return "copying", bytesUnit
	case "kernel modules":
		return "unpacking kernel modules", noUnit
	case "boot files", "copy the boot files":
		return "copying boot files", noUnit
	case "identity":
		return "writing the identity", noUnit
	case "write to disk":
		return "writing to disk", noUnit
	case "hash":
		return "hashing files", filesUnit
	case "compare":
		return "comparing files", filesUnit
	case "verify":
		return "verifying files", filesUnit
	}
	return step, noUnit
}

// report shows that done of total units of a step are done; total 0 means that
// the end is unknown.
func (m *meter) report(step string, done, total int64) {
	describe := m.describe
	if describe == nil {
		describe = describeStep
	}
	p := progress{done: done, total: total}
	p.label, p.unit = describe(step)
	if m.label != "" {
		p.label = m.label
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if step != m.step {
		m.step, m.since, m.first = step, now, done
	}
	if took := now.Sub(m.since); took >= time.Second && done > m.first {
		p.rate = float64(done-m.first) / took.Seconds()
		p.left = time.Duration(float64(max(total-done, 0)) / p.rate * float64(time.Second))
	}
	m.showLocked(p, now)
}

// show shows progress that its caller measured.
func (m *meter) show(p progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.showLocked(p, time.Now())
}

func (m *meter) showLocked(p progress, now time.Time) {
	m.latest = p
	ends := p.total > 0 && p.done >= p.total && m.shown.done < p.done
	switch wait := lineInterval - now.Sub(m.shownAt); {
	case m.terminal:
		if p.label != m.shown.label || ends || now.Sub(m.shownAt) >= drawInterval {
			m.printLocked(now)
		}
	case p.state() == m.shown.state() || m.pending != nil:
	case wait <= 0:
		m.printLocked(now)
	default:
		m.pending = time.AfterFunc(wait, m.printPending)
	}
}

// printPending prints what has changed within lineInterval of the last line.
func (m *meter) printPending() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending == nil { // stopped too late
		return
	}
	m.pending = nil
	if m.latest.state() != m.shown.state() {
		m.printLocked(time.Now())
	}
}

func (m *meter) printLocked(now time.Time) {
	m.shown, m.shownAt = m.latest, now
	if m.terminal {
		fmt.Fprint(m.w, "\r\033[K"+m.latest.bar(m.width-1))
		m.drawn = true
		return
	}
	fmt.Fprintln(m.w, m.latest.line())
}

// note prints a line that stays above the progress.
func (m *meter) note(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.eraseLocked()
	fmt.Fprintln(m.w, text)
}

// clear ends the progress and erases it from the terminal.
func (m *meter) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.eraseLocked()
	if m.pending != nil {
		m.pending.Stop()
		m.pending = nil
	}
}

func (m *meter) eraseLocked() {
	if m.drawn {
		fmt.Fprint(m.w, "\r\033[K")
		m.drawn = false
	}
}

// state is what has to change before another line is printed: the step, and how
// much of it is done, but not its speed.
func (p progress) state() string {
	switch {
	case p.total > 0:
		return fmt.Sprintf("%s  %d %%", p.label, min(p.done, p.total)*100/p.total)
	case p.done > 0 && p.unit == bytesUnit:
		return p.label + "  " + byteText(p.done)
	case p.done > 0:
		return strings.TrimSpace(fmt.Sprintf("%s  %d %s", p.label, p.done, p.unit))
	}
	return p.label
}

// line is the progress for a log.
func (p progress) line() string { return p.state() + p.speed() }

// speed is the rate and the remaining time, as far as they are known.
func (p progress) speed() string {
	text := ""
	switch {
	case p.rate <= 0 || p.unit == noUnit:
	case p.unit == bytesUnit:
		text = fmt.Sprintf("  %s/s", byteText(int64(p.rate)))
	case p.unit == framesUnit:
		text = fmt.Sprintf("  %.0f fps", p.rate)
	default:
		text = fmt.Sprintf("  %.0f %s/s", p.rate, p.unit)
	}
	if p.left >= time.Second {
		text += "  ETA " + p.left.Round(time.Second).String()
	}
	return text
}

// bar is the progress in one line of at most width columns.
func (p progress) bar(width int) string {
	if p.total <= 0 {
		return cut(p.line(), width)
	}
	done := min(p.done, p.total)
	right := fmt.Sprintf("%3d %%%s", done*100/p.total, p.speed())
	const around = len("  [") + len("] ")
	size := min(maxBar, width-around-utf8.RuneCountInString(p.label)-len(right))
	if size < minBar {
		return cut(p.line(), width)
	}
	filled := int(int64(size) * done / p.total)
	return fmt.Sprintf("%s  [%s%s] %s", p.label, strings.Repeat("=", filled), strings.Repeat(" ", size-filled), right)
}
