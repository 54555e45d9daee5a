//go:build e2e

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode/broker/natstest"
)

// A soakBroker is a NATS server that is not the daemon's: a process that can be killed by itself.
type soakBroker struct {
	program string
	config  string // file
	store   string // directory of what it has stored
	process *exec.Cmd
}

const soakBrokerAddr = "10.77.0.1:4223"

// useOwnBroker starts a NATS server for a soak, and returns the daemon's settings for it.
func (s *soak) useOwnBroker(t *testing.T) (settings string) {
	t.Helper()
	dir := t.TempDir()
	b := &soakBroker{program: filepath.Join(dir, "nats-server"), config: filepath.Join(dir, "nats-server.conf"), store: filepath.Join(dir, "store")}
	tool(t, "go", "build", "-o", b.program, "github.com/nats-io/nats-server/v2")
	config, credentials := natstest.Configure(t, "../../docs/machines.md", soakBrokerAddr, b.store)
	putText(t, b.config, config)
	file := filepath.Join(dir, "credentials")
	if err := os.WriteFile(file, []byte(credentials), 0o600); err != nil {
		t.Fatal(err)
	}
	s.broker = b
	s.startBroker()
	t.Cleanup(b.kill)
	waitUntil(t, "the NATS server does not answer", func() bool {
		return s.net.Do(func() error { return tryTCP(t.Context(), soakBrokerAddr) }) == nil
	})
	return fmt.Sprintf("url = \"nats://%s\"\ncredentials = %q\n", soakBrokerAddr, file)
}

func (s *soak) startBroker() {
	s.broker.process = exec.Command(s.broker.program, "-c", s.broker.config)
	if err := s.net.Do(s.broker.process.Start); err != nil {
		s.note("starting the NATS server: %v", err)
	}
}

func (b *soakBroker) kill() {
	_ = b.process.Process.Kill()
	_ = b.process.Wait() // it was killed
}

// killBroker kills the NATS server again and again. Every other time it has lost what it had stored.
func (s *soak) killBroker(ctx context.Context) {
	if s.broker == nil {
		return
	}
	for d := s.dice(brokerRole); d.between(ctx, s.pace/2, 4*s.pace); {
		s.count("brokers killed")
		s.broker.kill()
		if d.IntN(2) == 0 {
			if err := os.RemoveAll(s.broker.store); err != nil {
				s.note("removing what the NATS server has stored: %v", err)
			}
		}
		d.between(ctx, 0, s.pace/2)
		s.startBroker()
	}
}
