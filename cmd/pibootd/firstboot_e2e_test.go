//go:build e2e

package main

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	firstBootPage     = "../../docs/first-boot.md"
	firstBootTerminal = "../../docs/img/first-boot.svg"
)

// The commands of docs/first-boot.md work in their order, and print lines that begin as the
// page shows; of the doctor, who looks at this machine's disks, the last one does. With PIBOOTD_RECORD=1 the page, and its picture of a terminal, show what
// they print now.
func TestFirstBoot(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	page := readAll(firstBootPage)
	var recorded, terminal strings.Builder
	for part := range strings.SplitSeq(page, "```console\n") {
		if recorded.Len() == 0 {
			recorded.WriteString(part)
			continue
		}
		shown, after, _ := strings.Cut(part, "```\n")
		printed := l.session(t, shown)
		if got, want := beginnings(printed), beginnings(shown); !slices.Equal(got, want) && os.Getenv("PIBOOTD_RECORD") == "" {
			t.Errorf("docs/first-boot.md has lines that begin with %q; it printed %q. PIBOOTD_RECORD=1 writes the page again", want, got)
		}
		recorded.WriteString("```console\n" + printed + "```\n" + after)
		if !strings.HasPrefix(printed, "$ sudo pibootd doctor") {
			terminal.WriteString(printed)
		}
	}
	if os.Getenv("PIBOOTD_RECORD") == "" {
		return
	}
	for file, text := range map[string]string{firstBootPage: recorded.String(), firstBootTerminal: drawTerminal(terminal.String())} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// session runs the commands of a part of the page, and returns it with what they print.
func (l *lab) session(t *testing.T, shown string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(shown) {
		command, ok := strings.CutPrefix(line, "$ sudo pibootd ")
		if !ok {
			continue
		}
		command, filter, _ := strings.Cut(command, "|")
		printed := filtered(t, l.tutorial(t, strings.Fields(command)), filter)
		out.WriteString(line)
		for printed := range strings.Lines(strings.ReplaceAll(printed, l.state, "/var/lib/pibootd")) {
			out.WriteString(toColumns(strings.TrimRight(printed, "\n")) + "\n")
		}
	}
	return out.String()
}

// filtered is what a pipe leaves of a text.
func filtered(t *testing.T, text, filter string) string {
	t.Helper()
	if filter == "" {
		return text
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", filter)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", filter, err)
	}
	return string(out)
}

// maxColumns is what the page and the picture show of a line.
const maxColumns = 110

func toColumns(line string) string {
	if letters := []rune(line); len(letters) > maxColumns {
		return string(letters[:maxColumns-1]) + "…"
	}
	return line
}

// tutorial runs a command. The board's part is a virtual one's and a worker's on
// this machine, and holiday.mp4 a test picture.
func (l *lab) tutorial(t *testing.T, args []string) string {
	t.Helper()
	if args[0] == "template" {
		cmd := l.build(t, args[2:]...)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, errs.String())
		}
		return string(out)
	}
	if args[0] == "transcode" {
		startWorker(t, l, "3333347a")
		args[1] = filepath.Join(l.state, "media", args[1])
		makeVideo(t, args[1], "6")
	}
	return l.pibootd(t, args...)
}

var number = regexp.MustCompile(`[0-9][0-9.,:]*`)

// beginnings are the first words of the lines that have to be as the page shows them, without
// what changes from run to run.
func beginnings(text string) (of []string) {
	const words = 3
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if strings.HasPrefix(text, "$ sudo pibootd doctor") {
		lines = lines[len(lines)-1:]
	}
	for _, line := range lines {
		fields := strings.Fields(number.ReplaceAllString(line, "0"))
		of = append(of, strings.Join(fields[:min(len(fields), words)], " "))
	}
	return of
}

// The picture's letters in pixels.
const letterWidth, lineHeight = 8, 18

// drawTerminal makes a picture of what a terminal has shown.
func drawTerminal(text string) string {
	var lines []string
	columns := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		columns = max(columns, utf8.RuneCountInString(line))
		lines = append(lines, line)
	}
	width, height := columns*letterWidth+40, len(lines)*lineHeight+40
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="A terminal: from a template to a transcoded video">
<rect width="100%%" height="100%%" rx="10" fill="#16181c"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="#d5d9e0">
`, width, height)
	for i, line := range lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			line = `<tspan fill="#7ab8ff">$</tspan> <tspan fill="#fff" font-weight="700">` + html.EscapeString(command) + `</tspan>`
		} else {
			line = html.EscapeString(line)
		}
		line = strings.ReplaceAll(line, "  ", "\u00a0\u00a0") // SVG makes one blank of two
		fmt.Fprintf(&out, "<text x=\"20\" y=\"%d\">%s</text>\n", 32+i*lineHeight, line)
	}
	return out.String() + "</g>\n</svg>\n"
}
