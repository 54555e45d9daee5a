package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

// A live source that is no file is read through the daemon. What is only read, comes to
// ffmpeg by its standard input. For a protocol in which ffmpeg speaks as well, a port of
// this machine stands for the source.

// formatsOfPipe are those of sources that are only read. None of them names other sources.
const formatsOfPipe = "mpegts,flv,live_flv,matroska,webm,nut,mov,mp4,ogg"

// tunnelled returns ffmpeg's arguments that read a source through the daemon, and what
// comes to its standard input; nil is nothing.
func (c *connection) tunnelled(ctx context.Context) (args []string, stdin io.Reader, err error) {
	u, err := url.Parse(c.unit.Ingest.URL)
	if err != nil {
		return nil, nil, errors.New("the source's URL cannot be read")
	}
	if u.Scheme != "rtmp" && u.Scheme != "rtsp" {
		r := &tunnelReader{ctx: ctx, c: c}
		if err := r.fill(); err != nil { // ffmpeg is started when the source sends
			return nil, nil, fmt.Errorf("awaiting the source: %w", err)
		}
		return []string{"-protocol_whitelist", "pipe", "-format_whitelist", formatsOfPipe, "-i", fromPipe}, r, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("opening a port for ffmpeg: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	go c.serveTunnel(ctx, listener)
	return spoken(*u, listener.Addr().String()), nil, nil
}

// spoken returns ffmpeg's arguments for a source in whose place a port of this machine is.
func spoken(u url.URL, port string) []string {
	real := u
	u.Host = port
	if u.Scheme == "rtsp" {
		return []string{"-protocol_whitelist", "tcp,rtp", "-rtsp_transport", "tcp", "-i", u.String()}
	}
	real.User, real.RawQuery, real.Fragment = nil, "", ""
	if i := len(real.Path) - 1; i >= 0 {
		for i > 0 && real.Path[i] != '/' {
			i--
		}
		real.Path, real.RawPath = real.Path[:i], ""
	}
	return []string{"-protocol_whitelist", "rtmp,tcp", "-rtmp_tcurl", real.String(), "-rtmp_live", "live", "-i", u.String()}
}

// serveTunnel passes the bytes of one connection of ffmpeg on to the source and back.
func (c *connection) serveTunnel(ctx context.Context, listener net.Listener) {
	conn, err := listener.Accept()
	listener.Close()
	if err != nil {
		return // ffmpeg has ended
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer conn.Close()
	writing.Go(func() { c.writeTunnel(ctx, conn) })
	if _, err := io.Copy(conn, &tunnelReader{ctx: ctx, c: c}); err != nil {
		c.log().Debug("live source lost", "job", c.job, "err", err)
	}
}

// writeTunnel passes on what ffmpeg says to the source.
func (c *connection) writeTunnel(ctx context.Context, from io.Reader) {
	buf := make([]byte, 32<<10)
	for offset := int64(0); ; {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := c.tunnel(ctx, transcode.TunnelRequest{Offset: offset, Data: buf[:n]}); err != nil {
				return
			}
			offset += int64(n)
		}
		if err != nil {
			return
		}
	}
}

// A tunnelReader reads from the source.
type tunnelReader struct {
	ctx    context.Context
	c      *connection
	offset int64
	rest   []byte
}

// fill waits for bytes of the source.
func (r *tunnelReader) fill() error {
	for len(r.rest) == 0 {
		reply, err := r.c.tunnel(r.ctx, transcode.TunnelRequest{Offset: r.offset})
		switch {
		case err != nil:
			return err
		case reply.End:
			return io.EOF
		}
		r.rest = reply.Data
		r.offset += int64(len(reply.Data))
	}
	return nil
}

// Read waits for bytes of the source.
func (r *tunnelReader) Read(into []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(into, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// tunnelPatience is for how long the daemon may not answer.
const tunnelPatience = 10 * time.Second

// tunnel sends a request until the queue answers.
func (c *connection) tunnel(ctx context.Context, r transcode.TunnelRequest) (reply transcode.TunnelReply, err error) {
	r.Job, r.Attempt, r.Connection = c.job, c.attempt.number, c.number
	body, err := json.Marshal(r)
	if err != nil {
		return reply, fmt.Errorf("asking for the source: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*tunnelPatience)
	defer cancel()
	for wait := c.retryAfter(); ; wait = longer(wait) {
		err := c.requestOnce(ctx, transcode.SubjectTunnel+"."+c.Config.Name, body, tunnelPatience+answerWithin, &reply)
		if err == nil && reply.Err != "" {
			err = errors.New(reply.Err)
			c.lost.Store(&reply.Err)
			return reply, err
		}
		if err == nil {
			return reply, nil
		}
		if !pause.For(ctx, wait) {
			return reply, fmt.Errorf("asking for the source: %w", err)
		}
	}
}
