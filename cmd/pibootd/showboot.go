package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"pibootd/pkg/timeline"
	"pibootd/pkg/web"
)

// showBoot prints the files that pibootd makes for a board, and the files that the
// board requested during its last boot.
func showBoot(ctx context.Context, c *web.Client, w io.Writer, b web.Pi) error {
	var asked askedFiles
	for e, err := range c.Events(ctx, b.Serial.String()) {
		if err != nil {
			return err
		}
		asked.follow(e)
	}
	var out strings.Builder
	if b.Problem != "" {
		fmt.Fprintf(&out, "problem: %s\n", strings.Map(graphic, b.Problem))
	}
	if b.Boot != nil {
		file := strings.Map(graphic, cmp.Or(b.Boot.CommandLineFile, "cmdline.txt"))
		fmt.Fprintf(&out, "%s\n%sconfig.txt\n%s", file, indent(b.Boot.CommandLine), indent(b.Boot.Config))
	}
	if len(asked.files) == 0 {
		fmt.Fprintf(&out, "%s has not requested files yet\n", b.Name)
	} else {
		fmt.Fprintf(&out, "requested, %s\n", since(asked.last))
	}
	for _, e := range asked.files {
		fmt.Fprintf(&out, "  %s\n", strings.Map(graphic, askedText(e)))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// quietTime separates two boots if no root was mounted between them.
const quietTime = 2 * time.Minute

// askedFiles collects the files that a board requests over TFTP in one boot.
type askedFiles struct {
	files []timeline.Event // the last event of each file
	last  time.Time
	over  bool // the board's system has started since
}

func (a *askedFiles) follow(e timeline.Event) {
	switch e.Kind {
	case timeline.Mount, timeline.MountRefused, timeline.WorkerOnline:
		a.over = true
	case timeline.File, timeline.FileMissing, timeline.FileAborted, timeline.FileFailed:
		if a.over || e.At.Sub(a.last) > quietTime {
			a.files = nil
		}
		a.over, a.last = false, e.At
		a.note(e)
	}
}

// note replaces an earlier request for the same file by e.
func (a *askedFiles) note(e timeline.Event) {
	for i, known := range a.files {
		if known.File == e.File {
			a.files[i] = e
			return
		}
	}
	a.files = append(a.files, e)
}

func askedText(e timeline.Event) string {
	switch e.Kind {
	case timeline.File:
		return fmt.Sprintf("%s, %s", e.File, byteText(e.Bytes))
	case timeline.FileMissing:
		return e.File + ", not found"
	case timeline.FileAborted:
		return e.File + ", only its size"
	}
	return fmt.Sprintf("%s: %s", e.File, e.Detail)
}
