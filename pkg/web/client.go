package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"pibootd/pkg/fleet"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// ErrNotRunning reports that nobody answers at the control socket.
var ErrNotRunning = errors.New("pibootd does not answer")

// A Refusal is what the daemon says to a request that it does not do, or that
// did not come to its end.
type Refusal struct {
	Status  int // of HTTP; 200: it had begun
	Problem Problem
}

func (r Refusal) Error() string { return r.Problem.Error }

// A Client speaks to a daemon through its control socket. It is safe for
// concurrent use.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the daemon whose control socket is at socket.
// Nothing is connected yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Info returns what the daemon says of itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return get[Info](ctx, c, "/api/v1/info")
}

// Pis returns the registered boards by name.
func (c *Client) Pis(ctx context.Context) ([]Pi, error) {
	return get[[]Pi](ctx, c, "/api/v1/pis")
}

// Pi returns the board with this name, serial number or address.
func (c *Client) Pi(ctx context.Context, ref string) (Pi, error) {
	return get[Pi](ctx, c, "/api/v1/pis/"+url.PathEscape(ref))
}

// Discovered returns the boards that asked for an address and are not
// registered.
func (c *Client) Discovered(ctx context.Context) ([]registry.Discovered, error) {
	return get[[]registry.Discovered](ctx, c, "/api/v1/discovered")
}

// AddPi registers a board; progress is reported as it happens. A board that was
// added but whose export does not work is returned with an error.
func (c *Client) AddPi(ctx context.Context, r fleet.Request, progress func(step string, done, total int64)) (fleet.Added, error) {
	return follow(lines[Step[fleet.Added]](ctx, c, http.MethodPost, "/api/v1/pis", r), progress)
}

// ChangeRoot gives a board another root. One that does not work is returned with
// an error.
func (c *Client) ChangeRoot(ctx context.Context, ref string, change RootChange, progress func(step string, done, total int64)) (fleet.Replaced, error) {
	return follow(lines[Step[fleet.Replaced]](ctx, c, http.MethodPost, "/api/v1/pis/"+url.PathEscape(ref)+"/root", change), progress)
}

// Drift returns what is not in a board's root as in its template.
func (c *Client) Drift(ctx context.Context, ref string, progress func(step string, done, total int64)) ([]filetree.Change, error) {
	return follow(lines[Step[[]filetree.Change]](ctx, c, http.MethodGet, "/api/v1/pis/"+url.PathEscape(ref)+"/drift", nil), progress)
}

// KeptRoots returns the roots of a board that were set aside, the latest first.
func (c *Client) KeptRoots(ctx context.Context, ref string) ([]rootfs.ArchivedRoot, error) {
	return get[[]rootfs.ArchivedRoot](ctx, c, "/api/v1/pis/"+url.PathEscape(ref)+"/kept")
}

// RemoveKept deletes a root that was set aside.
func (c *Client) RemoveKept(ctx context.Context, ref, name string) (rootfs.ArchivedRoot, error) {
	return send[rootfs.ArchivedRoot](ctx, c, http.MethodDelete, "/api/v1/pis/"+url.PathEscape(ref)+"/kept/"+url.PathEscape(name), nil)
}

// follow tells progress of steps and returns the result, which may come with an
// error.
func follow[T any](steps iter.Seq2[Step[T], error], progress func(step string, done, total int64)) (T, error) {
	var none T
	for step, err := range steps {
		switch {
		case err != nil:
			return none, err
		case step.Error != "" && step.Result != nil:
			return *step.Result, step.refusal()
		case step.Error != "":
			return none, step.refusal()
		case step.Result != nil:
			return *step.Result, nil
		}
		progress(step.Step, step.Done, step.Total)
	}
	return none, fmt.Errorf("%w before it was done; ask pibootd show-pi what became of it", ErrNotRunning)
}

// EditPi changes a board.
func (c *Client) EditPi(ctx context.Context, ref string, e fleet.Edit) (fleet.Edited, error) {
	return send[fleet.Edited](ctx, c, http.MethodPatch, "/api/v1/pis/"+url.PathEscape(ref), e)
}

// RemovePi takes a board away.
func (c *Client) RemovePi(ctx context.Context, ref string, keepRoot bool) (Removed, error) {
	return send[Removed](ctx, c, http.MethodDelete, "/api/v1/pis/"+url.PathEscape(ref)+"?keep_root="+strconv.FormatBool(keepRoot), nil)
}

// Events yields the stored events of a board, "" for all boards, oldest first.
func (c *Client) Events(ctx context.Context, board string) iter.Seq2[timeline.Event, error] {
	return func(yield func(timeline.Event, error) bool) {
		var after int64
		for {
			events, err := get[[]timeline.Event](ctx, c, fmt.Sprintf("/api/v1/events?after=%d&board=%s", after, url.QueryEscape(board)))
			if err != nil {
				yield(timeline.Event{}, err)
				return
			}
			for _, event := range events {
				if !yield(event, nil) {
					return
				}
				after = event.ID
			}
			if len(events) < maxEvents {
				return
			}
		}
	}
}

// Follow yields the events of a board after the one numbered after, and then
// those that come up, until ctx or the daemon ends.
func (c *Client) Follow(ctx context.Context, board string, after int64) iter.Seq2[timeline.Event, error] {
	return lines[timeline.Event](ctx, c, http.MethodGet, fmt.Sprintf("/api/v1/events?follow=true&after=%d&board=%s", after, url.QueryEscape(board)), nil)
}

// Submit hands a video of the media share in. With force it is done even if the
// same was done before.
func (c *Client) Submit(ctx context.Context, r transcode.Request, force bool) (Submitted, error) {
	return send[Submitted](ctx, c, http.MethodPost, "/api/v1/jobs?force="+strconv.FormatBool(force), r)
}

// Jobs returns all jobs, newest first.
func (c *Client) Jobs(ctx context.Context) ([]queue.Job, error) {
	return get[[]queue.Job](ctx, c, "/api/v1/jobs")
}

// Job returns one job.
func (c *Client) Job(ctx context.Context, id int64) (queue.Job, error) {
	return get[queue.Job](ctx, c, fmt.Sprintf("/api/v1/jobs/%d", id))
}

// CancelJob ends a job that has not ended.
func (c *Client) CancelJob(ctx context.Context, id int64) (queue.Job, error) {
	return send[queue.Job](ctx, c, http.MethodDelete, fmt.Sprintf("/api/v1/jobs/%d", id), nil)
}

// RemoveJob forgets a job that has ended, and returns what it was.
func (c *Client) RemoveJob(ctx context.Context, id int64) (queue.Job, error) {
	return send[queue.Job](ctx, c, http.MethodDelete, fmt.Sprintf("/api/v1/jobs/%d?remove=true", id), nil)
}

// ChangeJob changes a job that has not ended.
func (c *Client) ChangeJob(ctx context.Context, id int64, change queue.Change) (queue.Job, error) {
	return send[queue.Job](ctx, c, http.MethodPatch, fmt.Sprintf("/api/v1/jobs/%d", id), change)
}

// RetryJob hands in again what a failed or cancelled job was to do.
func (c *Client) RetryJob(ctx context.Context, id int64) (Submitted, error) {
	return send[Submitted](ctx, c, http.MethodPost, fmt.Sprintf("/api/v1/jobs/%d/retry", id), nil)
}

// Machines returns the machines that are no boards, by name.
func (c *Client) Machines(ctx context.Context) ([]Machine, error) {
	return get[[]Machine](ctx, c, "/api/v1/workers")
}

// Machine returns the machine of this name.
func (c *Client) Machine(ctx context.Context, name string) (Machine, error) {
	return get[Machine](ctx, c, "/api/v1/workers/"+url.PathEscape(name))
}

// AddMachine lets a machine that is no board work.
func (c *Client) AddMachine(ctx context.Context, m NewMachine) (AddedMachine, error) {
	return send[AddedMachine](ctx, c, http.MethodPost, "/api/v1/workers", m)
}

// EditMachine changes what is known of a machine.
func (c *Client) EditMachine(ctx context.Context, name string, edit MachineEdit) (registry.Machine, error) {
	return send[registry.Machine](ctx, c, http.MethodPatch, "/api/v1/workers/"+url.PathEscape(name), edit)
}

// RemoveMachine takes a machine away.
func (c *Client) RemoveMachine(ctx context.Context, name string) (registry.Machine, error) {
	return send[registry.Machine](ctx, c, http.MethodDelete, "/api/v1/workers/"+url.PathEscape(name), nil)
}

// Drain has a board, or another machine, finish what it does and take no more,
// or take work again.
func (c *Client) Drain(ctx context.Context, ref string, on bool) (Drained, error) {
	method := http.MethodPut
	if !on {
		method = http.MethodDelete
	}
	return send[Drained](ctx, c, method, "/api/v1/pis/"+url.PathEscape(ref)+"/drain", nil)
}

// WatchJob yields a job now and whenever it has changed, until it has ended.
func (c *Client) WatchJob(ctx context.Context, id int64) iter.Seq2[queue.Job, error] {
	return lines[queue.Job](ctx, c, http.MethodGet, fmt.Sprintf("/api/v1/jobs/%d/watch", id), nil)
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, nil)
}

// send makes a request with body, nil for none, and decodes the one value of
// the answer.
func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		return out, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("reading pibootd's answer: %w", err)
	}
	return out, nil
}

// lines makes a request and yields the values of the answer as they come. A
// connection that breaks ends it without an error: the daemon went away.
func lines[T any](ctx context.Context, c *Client, method, path string, body any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		response, err := c.do(ctx, method, path, body)
		if err != nil {
			yield(none, err)
			return
		}
		defer response.Body.Close()
		for values := json.NewDecoder(response.Body); ; {
			var value T
			if values.Decode(&value) != nil || !yield(value, nil) {
				return
			}
		}
	}
}

// do makes a request and returns the answer if it is a success. The caller
// closes its body.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://pibootd"+path, content)
	if err != nil {
		return nil, fmt.Errorf("writing a request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w at %s: %w", ErrNotRunning, c.socket, errors.Unwrap(err))
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	return nil, problem(response)
}

func problem(response *http.Response) error {
	var p Problem
	if err := json.NewDecoder(io.LimitReader(response.Body, maxBody)).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("pibootd answers %s", response.Status)
	}
	return Refusal{Status: response.StatusCode, Problem: p}
}
