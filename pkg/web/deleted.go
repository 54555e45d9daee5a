package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/trash"
)

// A Trash keeps what was deleted of the media share. *trash.Trash implements it.
type Trash interface {
	Put(name, by string, bytes int64) (trash.Item, error)
	List() ([]trash.Item, error)
	Restore(id string) (trash.Item, error)
	Remove(id string) (trash.Item, error)
}

// isWithheld reports whether players must not get a file: names with a leading dot, and
// what was deleted.
func isWithheld(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return isHidden(name) || first == trash.Dir
}

// listMedia lists what is published.
func (s *Server) listMedia(w http.ResponseWriter, r *http.Request) {
	outputs, err := s.Queue.Outputs(r.Context())
	var all []Published
	if err == nil {
		all, err = s.published.list(outputs)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(all))
}

func outputsOf(jobs []queue.Job) (paths []string) {
	for _, job := range jobs {
		if job.State == queue.Done && job.Output != "" {
			paths = append(paths, job.Output)
		}
	}
	return paths
}

// deleteMedia moves a published stream or file to the trash.
func (s *Server) deleteMedia(w http.ResponseWriter, r *http.Request) {
	jobs, err := s.Queue.All(r.Context())
	var what string
	var bytes int64
	if err == nil {
		what, bytes, err = s.deletable(r.PathValue("name"), jobs)
	}
	var item trash.Item
	if err == nil {
		item, err = s.Trash.Put(what, loginOf(r).Name, bytes)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.live.nudge()
	s.reply(w, item)
}

// deletable returns the file, or the directory of the stream, that the path of a
// published video stands for. Nothing else may need it.
func (s *Server) deletable(name string, jobs []queue.Job) (what string, bytes int64, err error) {
	all, err := s.published.list(outputsOf(jobs))
	if err != nil {
		return "", 0, err
	}
	for _, one := range all {
		if one.Path == name {
			what, bytes = one.Path, one.Bytes
		}
	}
	switch {
	case what == "":
		return "", 0, missing("name", fmt.Errorf("no video %.200q is published", name))
	case !isFile(what):
		if what = path.Dir(what); !strings.Contains(what, "/") {
			return "", 0, pi.Conflicting("name", errors.New("the stream has no directory of its own; delete its files in the media share"))
		}
	}
	within := func(file string) bool { return file == what || strings.HasPrefix(file, what+"/") }
	for _, one := range all {
		if one.Path != name && within(one.Path) {
			return "", 0, pi.Conflicting("name", fmt.Errorf("the video %.200q is in the same directory; delete that first", one.Path))
		}
	}
	for _, job := range jobs {
		if !job.State.Ended() && within(job.Request.Source) {
			return "", 0, pi.Conflicting("name", fmt.Errorf("job %d reads it; wait for that, or cancel it", job.ID))
		}
	}
	return what, bytes, nil
}

func (s *Server) listTrash(w http.ResponseWriter, _ *http.Request) {
	items, err := s.Trash.List()
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(items))
}

func (s *Server) restoreTrash(w http.ResponseWriter, r *http.Request) {
	s.withTrash(w, r, s.Trash.Restore)
}

func (s *Server) removeTrash(w http.ResponseWriter, r *http.Request) {
	s.withTrash(w, r, s.Trash.Remove)
}

func (s *Server) withTrash(w http.ResponseWriter, r *http.Request, do func(id string) (trash.Item, error)) {
	item, err := do(r.PathValue("id"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.live.nudge()
	s.reply(w, item)
}

// Media returns what is published.
func (c *Client) Media(ctx context.Context) ([]Published, error) {
	return get[[]Published](ctx, c, "/api/v1/media")
}

// DeleteMedia moves a published video to the trash.
func (c *Client) DeleteMedia(ctx context.Context, name string) (trash.Item, error) {
	return send[trash.Item](ctx, c, http.MethodDelete, "/api/v1/media/"+(&url.URL{Path: name}).EscapedPath(), nil)
}

// Trash returns what was deleted, the latest first.
func (c *Client) Trash(ctx context.Context) ([]trash.Item, error) {
	return get[[]trash.Item](ctx, c, "/api/v1/trash")
}

// Restore puts an item of the trash back.
func (c *Client) Restore(ctx context.Context, id string) (trash.Item, error) {
	return send[trash.Item](ctx, c, http.MethodPost, "/api/v1/trash/"+url.PathEscape(id)+"/restore", nil)
}

// RemoveTrash deletes an item of the trash for good.
func (c *Client) RemoveTrash(ctx context.Context, id string) (trash.Item, error) {
	return send[trash.Item](ctx, c, http.MethodDelete, "/api/v1/trash/"+url.PathEscape(id), nil)
}
