// Package broker connects the queue to its workers over NATS: by the server that
// pibootd embeds, or by one that it does not run. It decides who may connect, how
// often, and which subjects a worker may use.
package broker

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Limits of the embedded server. They hold for workers too, because a token can be
// stolen from a board's root.
const (
	// MaxPayload fits the result of an audio unit: at some 220 bytes a segment, 21 hours
	// of segments of 4 s. It is allocated only for clients that have logged in.
	MaxPayload = 4 << 20
	maxSubs    = 64 // of one connection
	// maxPending bounds what the server buffers for a client that does not read.
	maxPending   = 16 << 20
	authTimeout  = 3 * time.Second // the boards are on our own network
	pingInterval = 20 * time.Second
	maxPings     = 2 // unanswered, then the connection is closed
)

// MaxStreamBytes bounds the work stream. It has at most 64 messages of some 100 bytes in each of
// 256 lanes.
const MaxStreamBytes = 16 << 20

const startTimeout = 30 * time.Second

// Options say how to start a Broker.
type Options struct {
	Addr     netip.AddrPort // port 0 takes a free one
	Listener net.Listener   // to be served, and closed by Close; nil: listen on Addr
	StoreDir string         // of the server, which keeps nothing there; created if need be
	// Authenticate is called at every login, from many goroutines.
	Authenticate func(worker, token string) bool
	OnRefused    func(Refusal) // called for each refused login, from many goroutines; may be nil
	Log          *slog.Logger  // nil discards
}

// A Refusal is a login under a worker's name that was refused, or a connection that
// was closed.
type Refusal struct {
	Worker string
	From   netip.Addr // zero: not known
	Reason RefusalReason
}

// A RefusalReason says why a login was refused.
type RefusalReason string

// Why workers are refused.
const (
	WrongLogin RefusalReason = "unknown name or wrong token"
	OtherName  RefusalReason = "the name is not spelled as it is registered"
	TooMany    RefusalReason = "it has more connections than a worker needs; the oldest was closed"
	NoPlace    RefusalReason = "all places are taken by other workers"
	TooOften   RefusalReason = "it has connected more often than a worker needs to; it may again in a while"
)

// A Broker is the NATS server between the queue and its workers: the embedded one,
// which workers reach over TCP and the daemon in memory, or an external one.
type Broker struct {
	server   *server.Server // nil, like acceptor, if the server is external
	acceptor *acceptor
	conn     *nats.Conn // the daemon's own
	url      string
}

// Start starts the server and returns when workers can connect.
func Start(o Options) (*Broker, error) {
	if o.Authenticate == nil {
		return nil, errors.New("queue: Options.Authenticate is nil; want a function that knows the workers")
	}
	log := &serverLog{log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), fatal: make(chan string, 1)}
	a, err := listenFor(o, log.log)
	if err != nil {
		return nil, err
	}
	g := &gate{authenticate: o.Authenticate, refused: o.OnRefused, acceptor: a, own: rand.Text()}
	s, err := startServer(o, g, log)
	if err != nil {
		a.close()
		return nil, err
	}
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo(ownUser, g.own), nats.Name("pibootd"), nats.MaxReconnects(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.log.Warn("nats client", "err", err) }))
	if err != nil {
		a.close()
		stopServer(s)
		return nil, fmt.Errorf("queue: connecting to the embedded NATS server: %w", err)
	}
	a.start(s.InProcessConn)
	return &Broker{server: s, acceptor: a, conn: conn, url: "nats://" + a.addr().String()}, nil
}

func startServer(o Options, g *gate, log *serverLog) (*server.Server, error) {
	if err := removeStreams(o.StoreDir); err != nil {
		return nil, fmt.Errorf("queue: removing the streams of an earlier version: %w", err)
	}
	s, err := server.NewServer(serverOptions(o, g))
	if err != nil {
		return nil, fmt.Errorf("queue: configuring the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	// Start returns when the server is ready or has logged why it is not.
	select {
	case text := <-log.fatal:
		stopServer(s)
		return nil, fmt.Errorf("queue: starting the embedded NATS server: %s", text)
	default:
	}
	if !s.ReadyForConnections(startTimeout) {
		stopServer(s)
		return nil, fmt.Errorf("queue: the embedded NATS server is not ready after %v; look for its warnings", startTimeout)
	}
	return s, nil
}

// removeStreams removes the streams that earlier versions had on disk. The queue makes its stream
// again from the database.
func removeStreams(storeDir string) error {
	streams, err := filepath.Glob(filepath.Join(storeDir, "jetstream", "*", "streams", "*"))
	for _, stream := range streams {
		err = errors.Join(err, os.RemoveAll(stream))
	}
	return err
}

func serverOptions(o Options, g *gate) *server.Options {
	return &server.Options{
		ServerName:         "pibootd",
		DontListen:         true, // the acceptor does
		ProxyProtocol:      true, // carries the client's address
		NoSigs:             true,
		MaxConn:            2 * maxServed, // the acceptor bounds them
		MaxSubs:            maxSubs,
		MaxPayload:         MaxPayload,
		MaxPending:         maxPending,
		AuthTimeout:        authTimeout.Seconds(),
		PingInterval:       pingInterval,
		MaxPingsOut:        maxPings,
		JetStream:          true,
		StoreDir:           o.StoreDir,
		JetStreamMaxMemory: 2 * MaxStreamBytes, // 0 would mean three quarters of the machine's
		JetStreamMaxStore:  MaxStreamBytes,     // nothing is stored: see Storage

		DisableJetStreamBanner:     true,
		CustomClientAuthentication: g,
	}
}

// Conn returns the daemon's own connection, which Close closes.
func (b *Broker) Conn() *nats.Conn { return b.conn }

// URL returns where workers connect to.
func (b *Broker) URL() string { return b.url }

// Storage returns where the work stream is kept. The embedded server keeps it in memory: it shuts
// JetStream down for good once a disk is full, and after a restart the queue announces all work
// again anyway.
func (b *Broker) Storage() jetstream.StorageType {
	if b.server != nil {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// Reached reports whether the server is connected right now. The embedded one
// always is.
func (b *Broker) Reached() bool { return b.conn.IsConnected() }

// Addr returns where the embedded server listens.
func (b *Broker) Addr() netip.AddrPort {
	return b.acceptor.addr()
}

// Disconnect closes every connection of a worker, which can log in again only if
// Authenticate lets it. With an external server it does nothing: there the worker
// stays connected until its pass ends, for up to five minutes.
func (b *Broker) Disconnect(worker string) error {
	if b.server == nil {
		return nil
	}
	open, err := b.server.Connz(&server.ConnzOptions{Username: true, User: worker, Limit: maxConns})
	if err != nil {
		return fmt.Errorf("queue: looking for connections of %s: %w", worker, err)
	}
	for _, conn := range open.Conns {
		// An error means that it has closed already.
		_ = b.server.DisconnectClientByID(conn.Cid)
	}
	return nil
}

// Close disconnects everybody and stops the embedded server, or disconnects from the
// external one. A Queue on it must have stopped running.
func (b *Broker) Close() {
	b.conn.Close()
	if b.server != nil {
		b.acceptor.close()
		stopServer(b.server)
	}
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}
