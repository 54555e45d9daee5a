package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

const (
	tunnelDial = 10 * time.Second
	// tunnelWait is how long a request waits for bytes.
	tunnelWait = time.Second
	// maxResolve bounds the addresses of a name that are looked at.
	maxResolve = 16
)

// A tunnel is the connection to a live source. Its fields belong to whoever holds mu.
type tunnel struct {
	attempt, connection int
	source              tunnelEnd

	reading sync.Mutex
	read    int64  // bytes that were read before last
	last    []byte // that were read last
	ended   bool

	writing sync.Mutex
	written int64
}

// A tunnelEnd is a connection, an answer's body or a named pipe.
type tunnelEnd interface {
	io.Reader
	io.Closer
	SetReadDeadline(time.Time) error
}

// onTunnel answers a request of the worker that receives a live source.
func (q *Queue) onTunnel(ctx context.Context, worker string, body []byte) (any, error) {
	r, err := decode[transcode.TunnelRequest](body)
	if err != nil {
		return nil, err
	}
	key := attemptKey{unitKey{r.Job, transcode.IngestUnitID}, r.Attempt}
	s := q.live.get(r.Job)
	c, ok := q.claims.get(worker, key)
	if !ok || s == nil || len(r.Data) > transcode.MaxTunnelData {
		return transcode.TunnelReply{Err: "the claim was taken back, or the stream has ended"}, nil
	}
	t, err := q.tunnelOf(ctx, s, *c.spec.Ingest, c.spec.Source, r)
	if err != nil {
		return transcode.TunnelReply{Err: clip(err.Error(), maxReason)}, nil
	}
	if r.Data != nil {
		return t.write(r), nil
	}
	return t.receive(r), nil
}

// tunnelOf returns the tunnel of a request, and connects it if it is a new connection's
// first one.
func (q *Queue) tunnelOf(ctx context.Context, s *liveStream, u transcode.IngestUnit, source string, r transcode.TunnelRequest) (*tunnel, error) {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	t := s.tunnel
	if t != nil && t.attempt == r.Attempt && t.connection == r.Connection {
		return t, nil
	}
	if t != nil && (t.attempt > r.Attempt || t.attempt == r.Attempt && t.connection > r.Connection) || r.Offset != 0 {
		return nil, errors.New("the connection to the source was lost")
	}
	s.closeTunnelLocked()
	var end tunnelEnd
	var err error
	switch {
	case u.Listen && s.inlet != nil:
		end = s.inlet.open()
	case u.URL == "":
		end, err = q.openPipeLocked(s, source)
	default:
		end, err = q.connectSource(ctx, u)
	}
	if err != nil {
		return nil, err
	}
	s.tunnel = &tunnel{attempt: r.Attempt, connection: r.Connection, source: end}
	return s.tunnel, nil
}

func (s *liveStream) closeTunnel() {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	s.closeTunnelLocked()
}

func (s *liveStream) closeTunnelLocked() {
	if s.tunnel != nil {
		_ = s.tunnel.source.Close() // nobody reads it any more
		s.tunnel = nil
	}
}

// connectSource connects to a live source, at the address that it had when it was added.
func (q *Queue) connectSource(ctx context.Context, u transcode.IngestUnit) (tunnelEnd, error) {
	parsed, err := transcode.ParseLiveURL(u.URL)
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(u.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the source: %w", err)
	}
	if err := q.mayPull(addr.Addr()); err != nil { // the configuration may have changed
		return nil, err
	}
	if parsed.Scheme == "srt" {
		return connectSRT(parsed, addr)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: tunnelDial}).DialContext(ctx, "tcp", addr.String())
	}
	if parsed.Scheme == "rtmp" || parsed.Scheme == "rtsp" {
		conn, err := dial(ctx, "", "")
		if err != nil {
			return nil, fmt.Errorf("connecting to the source: %w", withoutAddress(err))
		}
		if parsed.Scheme == "rtsp" {
			return &rtspConn{Conn: conn}, nil
		}
		return conn, nil
	}
	return getSource(parsed, dial)
}

// withoutAddress returns the cause of an error of the network.
func withoutAddress(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// getSource requests a live source by HTTP. It follows no redirection, because that would
// lead elsewhere.
func getSource(u *url.URL, dial func(context.Context, string, string) (net.Conn, error)) (tunnelEnd, error) {
	var conn net.Conn
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
				conn, err = dial(ctx, network, addr)
				return conn, err
			},
			TLSHandshakeTimeout: tunnelDial, ResponseHeaderTimeout: tunnelDial, DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("the source's URL cannot be requested")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("requesting the source: %w", errors.Unwrap(err))
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the source answers %s; want 200 OK, and no redirection", response.Status)
	}
	return newPump(response.Body), nil
}

// A pump reads ahead from what has no deadlines.
type pump struct {
	from     io.ReadCloser
	chunks   chan []byte // closed at the end
	stop     chan struct{}
	once     sync.Once
	rest     []byte
	deadline time.Time
}

func newPump(from io.ReadCloser) *pump {
	p := &pump{from: from, chunks: make(chan []byte), stop: make(chan struct{})}
	go p.run()
	return p
}

func (p *pump) run() {
	defer close(p.chunks)
	for {
		buf := make([]byte, 64<<10)
		n, err := p.from.Read(buf)
		select {
		case p.chunks <- buf[:n]:
		case <-p.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

func (p *pump) SetReadDeadline(t time.Time) error { p.deadline = t; return nil }

// Read waits until the deadline.
func (p *pump) Read(into []byte) (int, error) {
	if len(p.rest) == 0 {
		select {
		case chunk, ok := <-p.chunks:
			if !ok {
				return 0, io.EOF
			}
			p.rest = chunk
		case <-time.After(time.Until(p.deadline)):
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(into, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pump) Close() error {
	p.once.Do(func() { close(p.stop) })
	return p.from.Close()
}

// An rtspConn fails if the server redirects its client (RFC 2326 §11): that would have the
// worker connect elsewhere by itself.
type rtspConn struct {
	net.Conn
	tail []byte
}

var rtspRedirect = []byte("RTSP/1.0 3")

func (c *rtspConn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	seen := append(c.tail, into[:n]...)
	if bytes.Contains(seen, rtspRedirect) {
		return 0, errors.New("the source redirects to another address; want one that does not")
	}
	c.tail = bytes.Clone(seen[max(len(seen)-len(rtspRedirect)+1, 0):])
	return n, err
}

// openPipeLocked opens a named pipe of the media share. It does not end when its writer
// does: the next one continues. Nor does its writer end when the worker does that receives
// the stream: the pipe stays open until the stream ends.
func (q *Queue) openPipeLocked(s *liveStream, name string) (tunnelEnd, error) {
	if s.pipe != nil {
		return keptPipe{s.pipe}, nil
	}
	file, err := q.media.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the named pipe: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Mode().Type() != os.ModeNamedPipe {
		err = fmt.Errorf("%s is a %v; want a named pipe", name, info.Mode().Type())
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	s.pipe = file
	return keptPipe{file}, nil
}

// A keptPipe is one reading of a named pipe.
type keptPipe struct{ *os.File }

// Close ends a Read that waits.
func (p keptPipe) Close() error { return p.SetReadDeadline(time.Unix(1, 0)) }

// leaveSource closes what a stream that has ended read from.
func (s *liveStream) leaveSource() {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	s.closeTunnelLocked()
	if s.pipe != nil {
		s.pipe.Close()
		s.pipe = nil
	}
	s.inlet.end()
}

// receive reads what has come.
func (t *tunnel) receive(r transcode.TunnelRequest) transcode.TunnelReply {
	t.reading.Lock()
	defer t.reading.Unlock()
	switch r.Offset {
	case t.read:
		if len(t.last) > 0 {
			return transcode.TunnelReply{Data: t.last} // the reply was lost
		}
	case t.read + int64(len(t.last)):
		t.read, t.last = r.Offset, nil
	default:
		return transcode.TunnelReply{Err: "bytes of the source were lost"}
	}
	if t.ended {
		return transcode.TunnelReply{End: true}
	}
	buf := make([]byte, transcode.MaxTunnelData)
	err := t.source.SetReadDeadline(time.Now().Add(tunnelWait))
	n := 0
	if err == nil {
		n, err = t.source.Read(buf)
	}
	t.last = buf[:n]
	reply := transcode.TunnelReply{Data: t.last}
	switch {
	case errors.Is(err, io.EOF):
		t.ended = true
		reply.End = n == 0
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		reply.Err = clip(withoutAddress(err).Error(), maxReason)
	}
	return reply
}

// write passes bytes on to the source.
func (t *tunnel) write(r transcode.TunnelRequest) transcode.TunnelReply {
	t.writing.Lock()
	defer t.writing.Unlock()
	conn, ok := t.source.(net.Conn)
	switch {
	case !ok:
		return transcode.TunnelReply{Err: "nothing is written to this source"}
	case r.Offset+int64(len(r.Data)) == t.written:
		return transcode.TunnelReply{} // the reply was lost
	case r.Offset != t.written:
		return transcode.TunnelReply{Err: "bytes for the source were lost"}
	}
	err := conn.SetWriteDeadline(time.Now().Add(tunnelDial))
	if err == nil {
		_, err = conn.Write(r.Data)
	}
	if err != nil {
		return transcode.TunnelReply{Err: clip(withoutAddress(err).Error(), maxReason)}
	}
	t.written += int64(len(r.Data))
	return transcode.TunnelReply{}
}

// pinSource resolves a live source's URL once and returns the address that all connections
// to it are made to.
func (q *Queue) pinSource(ctx context.Context, u *url.URL) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, tunnelDial)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.AddrPort{}, pi.InvalidField("source", fmt.Errorf("host %.200q of the source is not found", u.Hostname()))
	}
	var refused error
	for _, addr := range addrs[:min(len(addrs), maxResolve)] {
		if err := q.mayPull(addr.Unmap()); err != nil {
			refused = err
			continue
		}
		return netip.AddrPortFrom(addr.Unmap(), uint16(transcode.LivePort(u))), nil
	}
	return netip.AddrPort{}, pi.InvalidField("source", refused)
}

// mayPull returns an error if no live source may be at this address: what is not allowed,
// and what is this machine, where pibootd's own ports are.
func (q *Queue) mayPull(addr netip.Addr) error {
	if !slices.ContainsFunc(q.liveAllow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return fmt.Errorf("live sources at %s are not allowed; want an address of live.allow in the configuration", addr)
	}
	if addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
		return fmt.Errorf("live source at %s; want the address of one other machine", addr)
	}
	own, err := q.ownNets()
	if err != nil {
		return fmt.Errorf("reading this machine's addresses: %w", err)
	}
	if slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return fmt.Errorf("live source at %s, which is this machine; want another one, or a file or a named pipe of the media share", addr)
	}
	return nil
}

// ownNets returns the addresses that are this machine's.
func ownNets() ([]netip.Prefix, error) {
	list := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	addrs, err := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok {
			is, _ := netip.AddrFromSlice(ip.IP)
			list = append(list, netip.PrefixFrom(is.Unmap(), is.Unmap().BitLen()))
		}
	}
	return list, err
}
