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
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/fleet"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// ErrNotRunning reports that no daemon answers at the control socket.
var ErrNotRunning = errors.New("pibootd does not answer")

// A Refusal is the daemon's error for a request that it rejected or could not
// complete.
type Refusal struct {
	Status  int // of HTTP; 200: the request failed after the answer had started
	Problem Problem
}

func (r Refusal) Error() string { return r.Problem.Error }

// A Client accesses a daemon through its control socket, or over the network; see
// NewRemoteClient. It is safe for concurrent use.
type Client struct {
	base  string // of its URLs
	at    string // where the daemon is, for people
	token string // "": the control socket needs none
	http  http.Client
	wrong error // fails each request; nil: none
}

// NewClient returns a client of the daemon whose control socket is at socket. It
// does not connect yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, socket) }
	return &Client{base: "http://pibootd", at: socket, http: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// restartTime is how long a command waits for a daemon that restarts.
const restartTime = 10 * time.Second

// dialControl connects to the control socket. While the daemon restarts, its service
// manager keeps that open, and may do so for as long as the daemon cannot start.
func dialControl(ctx context.Context, socket string) (net.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil || listens(conn) {
			return conn, err
		}
		_ = conn.Close()
		if !pause.For(wait, 50*time.Millisecond) {
			return nil, fmt.Errorf("it has ended and not started again within %v: its log says why", restartTime)
		}
	}
}

// listens reports whether the process still runs that has the other end listen; true if it
// cannot be seen from here.
func listens(conn net.Conn) bool {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	_ = raw.Control(func(fd uintptr) {
		peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ended = err == nil && peer.Pid != 0 && errors.Is(unix.Kill(int(peer.Pid), 0), unix.ESRCH)
	})
	return !ended
}

// Info returns the daemon's description of itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return get[Info](ctx, c, "/api/v1/info")
}

// Pis returns the registered boards, sorted by name.
func (c *Client) Pis(ctx context.Context) ([]Pi, error) {
	return get[[]Pi](ctx, c, "/api/v1/pis")
}

// Pi returns the board with this name, serial number or address.
func (c *Client) Pi(ctx context.Context, ref string) (Pi, error) {
	return get[Pi](ctx, c, "/api/v1/pis/"+url.PathEscape(ref))
}

// Discovered returns the boards that asked for an address and are not registered.
func (c *Client) Discovered(ctx context.Context) ([]registry.Discovered, error) {
	return get[[]registry.Discovered](ctx, c, "/api/v1/discovered")
}

// AddPi registers a board and calls progress as the work proceeds. If the board was
// added but its export does not work, AddPi returns both the board and an error.
func (c *Client) AddPi(ctx context.Context, r fleet.Request, progress func(step string, done, total int64)) (fleet.Added, error) {
	return follow(lines[Step[fleet.Added]](ctx, c, http.MethodPost, "/api/v1/pis", r), progress)
}

// ChangeRoot replaces the root of a board. If the root was replaced but does not
// work, ChangeRoot returns both the board and an error.
func (c *Client) ChangeRoot(ctx context.Context, ref string, change RootChange, progress func(step string, done, total int64)) (fleet.Replaced, error) {
	return follow(lines[Step[fleet.Replaced]](ctx, c, http.MethodPost, "/api/v1/pis/"+url.PathEscape(ref)+"/root", change), progress)
}

// Drift returns the differences between a board's root and its template.
func (c *Client) Drift(ctx context.Context, ref string, progress func(step string, done, total int64)) ([]filetree.Change, error) {
	return follow(lines[Step[[]filetree.Change]](ctx, c, http.MethodGet, "/api/v1/pis/"+url.PathEscape(ref)+"/drift", nil), progress)
}

// KeptRoots returns the archived roots of a board, the latest first.
func (c *Client) KeptRoots(ctx context.Context, ref string) ([]rootfs.ArchivedRoot, error) {
	return get[[]rootfs.ArchivedRoot](ctx, c, "/api/v1/pis/"+url.PathEscape(ref)+"/kept")
}

// RemoveKept deletes an archived root.
func (c *Client) RemoveKept(ctx context.Context, ref, name string) (rootfs.ArchivedRoot, error) {
	return send[rootfs.ArchivedRoot](ctx, c, http.MethodDelete, "/api/v1/pis/"+url.PathEscape(ref)+"/kept/"+url.PathEscape(name), nil)
}

// follow calls progress for the steps and returns the result, which may come with
// an error.
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

// RemovePi removes a board.
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

// Follow yields the events of a board after the one numbered after, and then new
// events as they occur, until ctx or the daemon ends.
func (c *Client) Follow(ctx context.Context, board string, after int64) iter.Seq2[timeline.Event, error] {
	return lines[timeline.Event](ctx, c, http.MethodGet, fmt.Sprintf("/api/v1/events?follow=true&after=%d&board=%s", after, url.QueryEscape(board)), nil)
}

// Submit submits a video of the media share. With force it is transcoded even if
// the same request was done before.
func (c *Client) Submit(ctx context.Context, r transcode.Request, force bool) (Submitted, error) {
	return send[Submitted](ctx, c, http.MethodPost, "/api/v1/jobs?force="+strconv.FormatBool(force), r)
}

// Preview returns what a request would make, without submitting it.
func (c *Client) Preview(ctx context.Context, r transcode.Request) (queue.Preview, error) {
	return send[queue.Preview](ctx, c, http.MethodPost, "/api/v1/jobs?dry_run=true", r)
}

// Jobs returns all jobs, newest first.
func (c *Client) Jobs(ctx context.Context) ([]queue.Job, error) {
	return get[[]queue.Job](ctx, c, "/api/v1/jobs")
}

// Job returns one job.
func (c *Client) Job(ctx context.Context, id int64) (queue.Job, error) {
	return get[queue.Job](ctx, c, fmt.Sprintf("/api/v1/jobs/%d", id))
}

// CancelJob cancels a job that has not ended.
func (c *Client) CancelJob(ctx context.Context, id int64) (queue.Job, error) {
	return send[queue.Job](ctx, c, http.MethodDelete, fmt.Sprintf("/api/v1/jobs/%d", id), nil)
}

// RemoveJob deletes a job that has ended, and returns it.
func (c *Client) RemoveJob(ctx context.Context, id int64) (queue.Job, error) {
	return send[queue.Job](ctx, c, http.MethodDelete, fmt.Sprintf("/api/v1/jobs/%d?remove=true", id), nil)
}

// ChangeJob changes a job that has not ended.
func (c *Client) ChangeJob(ctx context.Context, id int64, change queue.Change) (queue.Job, error) {
	return send[queue.Job](ctx, c, http.MethodPatch, fmt.Sprintf("/api/v1/jobs/%d", id), change)
}

// RetryJob submits the request of a failed or cancelled job again.
func (c *Client) RetryJob(ctx context.Context, id int64) (Submitted, error) {
	return send[Submitted](ctx, c, http.MethodPost, fmt.Sprintf("/api/v1/jobs/%d/retry", id), nil)
}

// Files lists a directory of the media share; "" is the share itself.
func (c *Client) Files(ctx context.Context, dir string) (ShareDir, error) {
	return get[ShareDir](ctx, c, "/api/v1/files?dir="+url.QueryEscape(dir))
}

// Streams returns the live streams, oldest first.
func (c *Client) Streams(ctx context.Context) ([]LiveStream, error) {
	return get[[]LiveStream](ctx, c, "/api/v1/streams")
}

// AddStream starts a live stream.
func (c *Client) AddStream(ctx context.Context, r transcode.Request) (LiveStream, error) {
	return send[LiveStream](ctx, c, http.MethodPost, "/api/v1/streams", r)
}

// StreamKey returns what an encoder needs to send a live stream that listens for one; renew
// makes another key first.
func (c *Client) StreamKey(ctx context.Context, name string, renew bool) (StreamKey, error) {
	target := "/api/v1/streams/" + url.PathEscape(name) + "/key"
	if renew {
		return send[StreamKey](ctx, c, http.MethodPost, target, nil)
	}
	return get[StreamKey](ctx, c, target)
}

// StopStream ends a live stream.
func (c *Client) StopStream(ctx context.Context, name string) (LiveStream, error) {
	return send[LiveStream](ctx, c, http.MethodDelete, "/api/v1/streams/"+url.PathEscape(name), nil)
}

// Machines returns the machines that are not boards, sorted by name.
func (c *Client) Machines(ctx context.Context) ([]Machine, error) {
	return get[[]Machine](ctx, c, "/api/v1/workers")
}

// Machine returns the machine with this name.
func (c *Client) Machine(ctx context.Context, name string) (Machine, error) {
	return get[Machine](ctx, c, "/api/v1/workers/"+url.PathEscape(name))
}

// AddMachine registers a machine that is not a board, so that its worker can
// connect.
func (c *Client) AddMachine(ctx context.Context, m NewMachine) (AddedMachine, error) {
	return send[AddedMachine](ctx, c, http.MethodPost, "/api/v1/workers", m)
}

// EditMachine changes the settings of a machine.
func (c *Client) EditMachine(ctx context.Context, name string, edit MachineEdit) (registry.Machine, error) {
	return send[registry.Machine](ctx, c, http.MethodPatch, "/api/v1/workers/"+url.PathEscape(name), edit)
}

// RemoveMachine removes a machine.
func (c *Client) RemoveMachine(ctx context.Context, name string) (registry.Machine, error) {
	return send[registry.Machine](ctx, c, http.MethodDelete, "/api/v1/workers/"+url.PathEscape(name), nil)
}

// Drain tells a board or another machine to finish its unit and accept no more work
// or, if on is false, to accept work again.
func (c *Client) Drain(ctx context.Context, ref string, on bool) (Drained, error) {
	method := http.MethodPut
	if !on {
		method = http.MethodDelete
	}
	return send[Drained](ctx, c, method, "/api/v1/pis/"+url.PathEscape(ref)+"/drain", nil)
}

// WatchJob yields a job now and after each change, until it has ended.
func (c *Client) WatchJob(ctx context.Context, id int64) iter.Seq2[queue.Job, error] {
	return lines[queue.Job](ctx, c, http.MethodGet, fmt.Sprintf("/api/v1/jobs/%d/watch", id), nil)
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, nil)
}

// send makes a request with body, or without one if it is nil, and decodes the only
// value of the answer.
func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	return answerOf[T](c.do(ctx, method, path, body))
}

// answerOf decodes the only value of an answer, and closes its body.
func answerOf[T any](response *http.Response, err error) (T, error) {
	var out T
	if err != nil {
		return out, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("reading pibootd's answer: %w", err)
	}
	return out, nil
}

// lines makes a request and yields the values of the answer as they arrive. If the
// connection breaks, it stops without an error, because the daemon has stopped.
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

// do makes a request and returns the answer if its status is a success. The caller
// closes the body.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("writing a request: %w", err)
	}
	return c.send(request)
}

// send sends a request and returns the answer if its status is a success. The caller
// closes the body.
func (c *Client) send(request *http.Request) (*http.Response, error) {
	if c.wrong != nil {
		return nil, c.wrong
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx := request.Context(); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = fmt.Errorf("%w at %s: %w", ErrNotRunning, c.at, unknownCertificate(errors.Unwrap(err)))
		if c.token != "" && !errors.As(err, new(UnknownCertificateError)) {
			err = unreachableError{err}
		}
		return nil, err
	}
	if slices.Contains([]int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent}, response.StatusCode) {
		return response, nil
	}
	defer response.Body.Close()
	return nil, problem(response)
}

func problem(response *http.Response) error {
	var p Problem
	if err := json.NewDecoder(io.LimitReader(response.Body, maxBody)).Decode(&p); err != nil || p.Error == "" {
		p = Problem{Error: "pibootd answers " + response.Status}
	}
	return Refusal{Status: response.StatusCode, Problem: p}
}
