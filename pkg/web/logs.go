package web

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/pi"
)

// A BoardLog has what the boards log. *boardlog.Log implements it.
type BoardLog interface {
	Lines(context.Context, boardlog.Query) ([]boardlog.Line, error)
	Follow(context.Context, boardlog.Query) iter.Seq2[boardlog.Line, error]
}

// maxContains bounds the text that is searched for, in bytes.
const maxContains = 200

// logs returns the handler that sends lines of boards' logs, or follows them. They are for the
// owner alone: programs log names, addresses and sometimes secrets.
func (s *Server) logs(followers *slots) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.sendLogs(w, r, followers) }
}

func (s *Server) sendLogs(w http.ResponseWriter, r *http.Request, followers *slots) {
	q, err := s.logQuery(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	follow, err := boolean(r, "follow")
	if err != nil {
		s.refuse(w, err)
		return
	}
	if follow {
		s.followLogs(w, r, q, followers)
		return
	}
	lines, err := s.BoardLog.Lines(r.Context(), q)
	if err != nil {
		s.refuse(w, err)
		return
	}
	name := namesOf(s.Registry)
	for i := range lines {
		lines[i].Name = name(lines[i].Board)
	}
	s.reply(w, list(lines))
}

func (s *Server) logQuery(r *http.Request) (q boardlog.Query, err error) {
	if q.Board, err = s.boardOf(r.URL.Query().Get("board")); err != nil {
		return q, err
	}
	if q.After, err = integer(r, "after"); err != nil {
		return q, err
	}
	last, err := integer(r, "last")
	if err != nil {
		return q, err
	}
	if last < 0 || last > maxEvents {
		return q, pi.InvalidField("last", fmt.Errorf("last: got %d; want 1 to %d lines, or 0 for the first ones", last, maxEvents))
	}
	q.Last, q.Contains = int(last), r.URL.Query().Get("contains")
	if len(q.Contains) > maxContains {
		return q, pi.InvalidField("contains", fmt.Errorf("contains: got %d bytes; want %d at most", len(q.Contains), maxContains))
	}
	return q, nil
}

func (s *Server) followLogs(w http.ResponseWriter, r *http.Request, q boardlog.Query, followers *slots) {
	done, err := followers.take(clientOf(r))
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer done()
	q.Last = 0
	out, name := newStream(w), namesOf(s.Registry)
	for line, err := range s.BoardLog.Follow(r.Context(), q) {
		if err == nil {
			line.Name = name(line.Board)
			err = out.send(line)
		}
		if err != nil {
			s.Log.Debug("following ended", "component", "web", "err", err)
			return
		}
	}
}

// namesOf returns a function that finds a board's name by the key of its log.
func namesOf(boards Boards) func(key string) string {
	names := map[string]string{}
	return func(key string) string {
		name, known := names[key]
		if !known {
			if board, err := boards.Find(key); err == nil {
				name = board.Name
			}
			names[key] = name
		}
		return name
	}
}

// Logs returns lines of boards' logs in their order.
func (c *Client) Logs(ctx context.Context, q boardlog.Query) ([]boardlog.Line, error) {
	return get[[]boardlog.Line](ctx, c, logsPath(q))
}

// FollowLogs yields lines after the one numbered q.After, and then new ones as they come, until
// ctx or the daemon ends.
func (c *Client) FollowLogs(ctx context.Context, q boardlog.Query) iter.Seq2[boardlog.Line, error] {
	return lines[boardlog.Line](ctx, c, http.MethodGet, logsPath(q)+"&follow=true", nil)
}

func logsPath(q boardlog.Query) string {
	return fmt.Sprintf("/api/v1/logs?board=%s&after=%d&last=%d&contains=%s", url.QueryEscape(q.Board), q.After, q.Last, url.QueryEscape(q.Contains))
}
