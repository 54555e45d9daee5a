// Package rtmp receives what encoders such as OBS publish by RTMP (Adobe's Real-Time
// Messaging Protocol 1.0), and writes it as FLV. Nothing can be played from it.
package rtmp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"pibootd/internal/pause"
)

// A Server receives streams. Set its fields before Serve.
type Server struct {
	// Publish returns where the stream of a client goes that has this stream key. Its
	// error, which the client's log shows, refuses the client.
	Publish func(key string, from netip.AddrPort) (Publication, error)
	Log     *slog.Logger
}

// A Publication is a stream that one client may send.
type Publication interface {
	// Writer returns where the stream goes now, nil if nobody wants it. To another one
	// than before, the stream is sent from its beginning, at the next key frame. An error
	// ends the connection.
	Writer() (io.Writer, error)
	// Close ends writing, too. It can be called more than once.
	Close() error
}

const (
	maxConns    = 32
	maxOwnConns = 8 // of an address
	// loginTime is how long a client may take until it publishes.
	loginTime = 10 * time.Second
	// silence is how long a client that publishes may send nothing. Until then, another one
	// cannot take its place.
	silence = 10 * time.Second
	// refusalPause bounds how many keys can be tried.
	refusalPause = time.Second
	maxCommands  = 64 // before it publishes
)

// Serve receives streams from clients of listener, until ctx ends; then it ends their
// connections, closes listener and returns nil.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	limit := connLimit{byAddr: map[netip.Addr]int{}}
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.Log.Warn("connection of an encoder not accepted", "component", "rtmp", "err", err)
			if !pause.For(ctx, time.Second) { // no descriptor is free
				return nil
			}
			continue
		}
		from := remote(conn)
		addr := from.Addr()
		if !limit.take(addr) {
			conn.Close()
			continue
		}
		clients.Go(func() {
			defer limit.release(addr)
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			s.serve(ctx, conn, from)
		})
	}
}

func remote(conn net.Conn) netip.AddrPort {
	from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// A connLimit counts connections.
type connLimit struct {
	mu     sync.Mutex
	all    int
	byAddr map[netip.Addr]int
}

func (l *connLimit) take(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConns || l.byAddr[addr] >= maxOwnConns {
		return false
	}
	l.all++
	l.byAddr[addr]++
	return true
}

func (l *connLimit) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.byAddr[addr]--; l.byAddr[addr] == 0 {
		delete(l.byAddr, addr)
	}
}

// serve receives the stream of one client.
func (s *Server) serve(ctx context.Context, conn net.Conn, from netip.AddrPort) {
	log := s.Log.With("component", "rtmp", "addr", from)
	c := &client{conn: conn, deadline: time.Now().Add(loginTime)}
	c.in = newChunkReader(c)
	err := c.shakeHands()
	var key string
	if err == nil {
		key, err = c.login()
	}
	if err != nil {
		log.Debug("encoder does not publish", "err", err)
		return
	}
	to, err := s.Publish(key, from)
	if err != nil {
		log.Warn("encoder refused", "err", err)
		if pause.For(ctx, refusalPause) {
			_ = c.status("error", "NetStream.Publish.BadName", err.Error()) // it may be gone
		}
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { to.Close() }) // which may wait for its reader
	defer stop()
	log.Info("encoder publishes")
	if err = c.status("status", "NetStream.Publish.Start", "publishing"); err == nil {
		err = c.receive(to)
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		err = nil
	}
	log.Info("encoder has stopped", "err", err)
}

// A client is a connection.
type client struct {
	conn     net.Conn
	deadline time.Time // of the login; zero behind it
	in       *chunkReader
	read     uint32 // bytes, as acknowledgements count them
	acked    uint32
}

// Read reads from the connection, no longer than a client may be silent.
func (c *client) Read(b []byte) (int, error) {
	deadline := c.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(silence)
	}
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := c.conn.Read(b)
	c.read += uint32(n)
	return n, err
}

func (c *client) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

const handshakeBytes = 1536

// shakeHands does the handshake without digests (§5.2), which no encoder requires.
func (c *client) shakeHands() error {
	hello := make([]byte, 1+handshakeBytes)
	if _, err := io.ReadFull(c.in.r, hello); err != nil {
		return err
	}
	if hello[0] != 3 {
		return fmt.Errorf("the client speaks version %d of RTMP; want 3", hello[0])
	}
	reply := make([]byte, 1+handshakeBytes, 1+2*handshakeBytes)
	reply[0] = 3
	if err := c.write(append(reply, hello[1:]...)); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, c.in.r, handshakeBytes)
	return err
}

// login answers commands until the client publishes, and returns its stream key.
func (c *client) login() (key string, err error) {
	for range maxCommands {
		m, err := c.in.message()
		if err != nil {
			return "", err
		}
		if m.kind != typeCommand {
			continue
		}
		command, err := parseCommand(m.body)
		if err != nil {
			return "", err
		}
		if command.name == "publish" {
			c.deadline, c.in.max = time.Time{}, maxMessage
			return command.text, nil
		}
		if err := c.answer(command); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%d messages without publishing", maxCommands)
}

// A command is what of one is looked at.
type command struct {
	name        string
	transaction float64
	text        string // its first argument
}

func parseCommand(body []byte) (command, error) {
	values, err := readValues(body)
	if err != nil {
		return command{}, err
	}
	if len(values) < 2 || values[0].marker != amfString || values[1].marker != amfNumber {
		return command{}, errors.New("a command without name and transaction")
	}
	c := command{name: values[0].text, transaction: values[1].number}
	if len(values) > 3 { // behind the command object
		c.text = values[3].text
	}
	return c, nil
}

// answer answers a command of a client that does not publish yet.
func (c *client) answer(r command) error {
	result := appendNumber(appendString(nil, "_result"), r.transaction)
	switch r.name {
	case "connect":
		b := appendMessage(nil, typeChunkSize, 0, binary.BigEndian.AppendUint32(nil, replyChunk))
		b = appendMessage(b, typeWindow, 0, binary.BigEndian.AppendUint32(nil, window))
		b = appendMessage(b, typePeerBandwidth, 0, append(binary.BigEndian.AppendUint32(nil, window), 2))
		result = appendObject(result, "fmsVer", "FMS/3,0,1,123")
		result = appendObject(result, "level", "status", "code", "NetConnection.Connect.Success", "description", "connected")
		return c.write(appendMessage(b, typeCommand, 0, result))
	case "createStream":
		return c.write(appendMessage(nil, typeCommand, 0, appendNumber(append(result, amfNull), publishStream)))
	case "releaseStream", "FCPublish", "_checkbw":
		return c.write(appendMessage(nil, typeCommand, 0, append(result, amfNull, amfUndefined)))
	case "play", "play2":
		return errors.New("the client wants to play; want one that publishes")
	}
	return nil
}

const (
	publishStream = 1       // the message stream of what is published
	window        = 2500000 // bytes after which each side acknowledges
)

// status says what became of a command about the stream.
func (c *client) status(level, code, description string) error {
	const eventStreamBegin = 0
	b := appendMessage(nil, typeControl, 0, binary.BigEndian.AppendUint32([]byte{0, eventStreamBegin}, publishStream))
	body := append(appendNumber(appendString(nil, "onStatus"), 0), amfNull)
	body = appendObject(body, "level", level, "code", code, "description", description)
	return c.write(appendMessage(b, typeCommand, publishStream, body))
}

// receive passes on what the client publishes, to its end.
func (c *client) receive(to Publication) error {
	out := flvWriter{to: to}
	for {
		m, err := c.in.message()
		if err != nil {
			return err
		}
		switch m.kind {
		case typeAudio, typeVideo, typeData:
			err = out.write(m)
		case typeCommand:
			var r command
			if r, err = parseCommand(m.body); err == nil && (r.name == "deleteStream" || r.name == "closeStream" || r.name == "FCUnpublish") {
				return nil
			}
		}
		if err == nil && c.read-c.acked >= window/2 {
			c.acked = c.read
			err = c.write(appendMessage(nil, typeAck, 0, binary.BigEndian.AppendUint32(nil, c.read)))
		}
		if err != nil {
			return err
		}
	}
}
