// Package natstest runs a NATS server for tests as one that is not pibootd's: in
// the configuration that docs/operate.md gives to copy.
package natstest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// Password is the daemon's.
const Password = "the daemon's password"

// A Server has one URL however often it is stopped and started.
type Server struct {
	// Credentials is the text of the daemon's file.
	Credentials string

	t      testing.TB
	dir    string
	config string
	front  net.Listener
	pipes  sync.WaitGroup

	mu   sync.Mutex
	runs *server.Server // nil: stopped
}

// Start runs a server until the test ends. The documentation is looked for at
// manual. edit alters the configuration, as pairs of old and new.
func Start(t testing.TB, manual string, edit ...string) *Server {
	t.Helper()
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, seedErr := issuer.Seed()
	public, publicErr := issuer.PublicKey()
	config, configErr := sample(manual)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(seedErr, publicErr, configErr, err); err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Credentials: fmt.Sprintf("user = \"pibootd\"\npassword = %q\nissuer = %q\n", Password, seed),
		t:           t, dir: t.TempDir(), front: front,
	}
	s.config = strings.NewReplacer("10.0.0.2:4222", "127.0.0.1:-1", "/var/lib/nats", s.storeDir(), "PASSWORD", Password, "ACCOUNT-KEY", public).Replace(config)
	s.config = strings.NewReplacer(edit...).Replace(s.config)
	s.pipes.Go(s.serve)
	t.Cleanup(func() {
		front.Close()
		s.Stop()
		s.pipes.Wait()
	})
	s.Run()
	return s
}

// sample returns the configuration that the manual gives to copy.
func sample(manual string) (string, error) {
	text, err := os.ReadFile(manual)
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(text), "```\n# nats-server.conf\n")
	config, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		return "", fmt.Errorf("%s has no block that begins with # nats-server.conf", manual)
	}
	return config, nil
}

// URL returns where it is reached while it runs.
func (s *Server) URL() string { return "nats://" + s.front.Addr().String() }

func (s *Server) storeDir() string { return filepath.Join(s.dir, "store") }

// Run starts it.
func (s *Server) Run() {
	s.t.Helper()
	file := filepath.Join(s.dir, "nats-server.conf")
	if err := os.WriteFile(file, []byte(s.config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	runs, err := server.NewServer(o)
	if err != nil {
		s.t.Fatal(err)
	}
	runs.Start()
	if !runs.ReadyForConnections(30 * time.Second) {
		s.t.Fatal("the server does not start")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = runs
}

// Stop ends it, and with it all connections.
func (s *Server) Stop() {
	s.mu.Lock()
	runs := s.runs
	s.runs = nil
	s.mu.Unlock()
	if runs != nil {
		runs.Shutdown()
		runs.WaitForShutdown()
	}
}

// Forget deletes all that it has stored. It must be stopped.
func (s *Server) Forget() {
	s.t.Helper()
	if err := os.RemoveAll(s.storeDir()); err != nil {
		s.t.Fatal(err)
	}
}

// serve passes connections on to the server that runs.
func (s *Server) serve() {
	for {
		near, err := s.front.Accept()
		if err != nil {
			return
		}
		far, err := s.dial()
		if err != nil {
			near.Close()
			continue
		}
		s.pipes.Go(func() { pass(near, far) })
		s.pipes.Go(func() { pass(far, near) })
	}
}

func (s *Server) dial() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		return nil, errors.New("stopped")
	}
	return net.Dial("tcp", s.runs.Addr().String())
}

// pass copies until one side is closed, and then closes the other.
func pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	_, _ = io.Copy(to, from) // what ends it is seen at both ends
}
