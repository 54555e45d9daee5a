package web

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// A Report is what to attach to a bug report about a board.
type Report struct {
	Text string `json:"text"` // Markdown
}

// How much of each a report has. GitHub accepts 64 kB of text in an issue, and files of 25 MB.
const (
	reportEvents = 500
	reportLines  = 1000
)

// report packs what is known of a board into one text, without secrets.
func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	board, err := s.Registry.Find(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	text, err := s.reportOn(r, board)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, Report{newRedactor(s.secretsOf(board)).clean(text)})
}

func (s *Server) secretsOf(board registry.Pi) []string {
	if s.Secrets == nil {
		return nil
	}
	return s.Secrets(board)
}

func (s *Server) reportOn(r *http.Request, board registry.Pi) (string, error) {
	described, err := s.describe(r, board, s.workers())
	if err != nil {
		return "", err
	}
	events, err := s.lastEvents(r.Context(), board)
	if err != nil {
		return "", err
	}
	lines, err := s.BoardLog.Lines(r.Context(), boardlog.Query{Board: board.Serial.String(), Last: reportLines})
	if err != nil {
		return "", err
	}
	for i := range lines {
		lines[i].Name = board.Name
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# pibootd's report on %s\n\nMade %s by pibootd %s, %s/%s, %s.\n", board.Name, time.Now().UTC().Format(time.RFC3339), s.Info.Version, runtime.GOOS, runtime.GOARCH, kernelRelease())
	section(&out, "Diagnosis", described.Diagnosis.Line())
	section(&out, "Board", indented(described))
	s.bootFiles(&out, board)
	section(&out, "Configuration", indented(s.Config))
	section(&out, "Events", join(events))
	section(&out, "Log", join(lines))
	section(&out, "Requests of its last boot", packetsText(s.packetsOf(board)))
	return out.String(), nil
}

// bootFiles adds the files that a board would be served, or why they are unknown.
func (s *Server) bootFiles(out *strings.Builder, board registry.Pi) {
	files, err := s.Fleet.BootFiles(board)
	if err != nil {
		section(out, "Boot files", err.Error())
		return
	}
	section(out, "cmdline.txt", files.CommandLine)
	section(out, "config.txt", files.Config)
}

// lastEvents returns a board's latest events.
func (s *Server) lastEvents(ctx context.Context, board registry.Pi) ([]timeline.Event, error) {
	var all []timeline.Event
	for after := int64(0); ; after = all[len(all)-1].ID {
		page, err := s.Timeline.Events(ctx, board.Serial.String(), after, maxEvents)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < maxEvents {
			return all[max(0, len(all)-reportEvents):], nil
		}
	}
}

func (s *Server) packetsOf(board registry.Pi) []boardlog.Packet {
	if s.Packets == nil {
		return nil
	}
	return s.Packets.Of(board.Serial.String())
}

// section adds a heading and text that is shown as it is.
func section(out *strings.Builder, heading, text string) {
	if text == "" {
		text = "nothing"
	}
	text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "```", "'''") // it must not end the fence
	fmt.Fprintf(out, "\n## %s\n\n```\n%s\n```\n", heading, text)
}

func indented(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func join[T fmt.Stringer](list []T) string {
	var out strings.Builder
	for _, one := range list {
		fmt.Fprintln(&out, one)
	}
	return out.String()
}

// packetsText returns packets in hexadecimal digits, as xxd -r -p reads them.
func packetsText(packets []boardlog.Packet) string {
	var out strings.Builder
	for _, p := range packets {
		from := "no address"
		if p.From.IsValid() && !p.From.IsUnspecified() {
			from = p.From.String()
		}
		fmt.Fprintf(&out, "%s %s from %s, %d bytes\n%s\n", p.At.UTC().Format("15:04:05.000"), p.Service, from, len(p.Bytes), hex.EncodeToString(p.Bytes))
	}
	return out.String()
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "an unknown kernel"
	}
	return "Linux " + unix.ByteSliceToString(name.Release[:])
}

// Report returns what to attach to a bug report about a board.
func (c *Client) Report(ctx context.Context, ref string) (Report, error) {
	return get[Report](ctx, c, "/api/v1/pis/"+url.PathEscape(ref)+"/report")
}
