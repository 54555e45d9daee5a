// Package natstest runs a NATS server for tests as one that is not pibootd's: in
// the configuration that docs/machines.md gives to copy.
package natstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	front  *front
	runs   *server.Server // nil: stopped
}

// Start runs a server until the test ends. The documentation is looked for at
// manual. edit alters the configuration, as pairs of old and new.
func Start(t testing.TB, manual string, edit ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), front: newFront(t)}
	s.config, s.Credentials = Configure(t, manual, "127.0.0.1:-1", s.storeDir())
	s.config = strings.NewReplacer(edit...).Replace(s.config)
	t.Cleanup(s.Stop)
	s.Run()
	return s
}

// Configure returns the text of a server's configuration file, and that of the daemon's file of
// credentials for it. The documentation is looked for at manual.
func Configure(t testing.TB, manual, listen, storeDir string) (config, credentials string) {
	t.Helper()
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, seedErr := issuer.Seed()
	public, publicErr := issuer.PublicKey()
	config, err = sample(manual)
	if err := errors.Join(seedErr, publicErr, err); err != nil {
		t.Fatal(err)
	}
	config = strings.NewReplacer("10.0.0.2:4222", listen, "/var/lib/nats", storeDir, "PASSWORD", Password, "ACCOUNT-KEY", public).Replace(config)
	return config, fmt.Sprintf("user = \"pibootd\"\npassword = %q\nissuer = %q\n", Password, seed)
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
func (s *Server) URL() string { return "nats://" + s.front.listen.Addr().String() }

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
	s.runs = run(s.t, o)
	s.front.to.Store(new(s.runs.Addr().String()))
}

// Stop ends it, and with it all connections. Doing it twice is doing it once.
func (s *Server) Stop() {
	s.front.to.Store(nil)
	if s.runs != nil {
		stop(s.runs)
		s.runs = nil
	}
}

func run(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		stop(s)
		t.Fatal("the server does not start")
	}
	return s
}

const startTimeout = 30 * time.Second

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Forget deletes all that it has stored. It must be stopped.
func (s *Server) Forget() {
	s.t.Helper()
	if err := os.RemoveAll(s.storeDir()); err != nil {
		s.t.Fatal(err)
	}
}
