//go:build e2e || soak

package linuxclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs"
)

// The addresses of the test's network; testdata/init knows them too.
const (
	serverAddr  = "10.78.0.1/24"
	nfsAddr     = "10.78.0.1:2049"
	portmapAddr = "10.78.0.1:111"
	guestAddr   = "10.78.0.2"
	tapName     = "tap0"
)

func newNetwork(t *testing.T) *netlab.Namespace {
	t.Helper()
	network := netlabtest.New(t)
	err := errors.Join(network.Tap(tapName), network.AddAddr(tapName, netip.MustParsePrefix(serverAddr)))
	if err != nil {
		t.Fatal(err)
	}
	return network
}

// serve is the server's process: it serves what is in dir until it is killed,
// and knows nothing of the one before it but the key and its calls.
func serve(dir string) error {
	s := &nfs.Server{
		Key:       bytes.Repeat([]byte{7}, 32),
		CallsFile: filepath.Join(dir, "calls"),
		Log:       slog.New(slog.NewTextHandler(os.Stdout, nil)),
	}
	exports, err := readExports(dir)
	if err != nil {
		return err
	}
	for _, e := range exports {
		if err := s.Export(e); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", nfsAddr)
	if err != nil {
		return err
	}
	mount, err := net.ListenPacket("udp", nfsAddr)
	if err != nil {
		return err
	}
	portmap, err := net.ListenPacket("udp", portmapAddr) // klibc's nfsmount asks it for the ports
	if err != nil {
		return err
	}
	calls, err := strconv.ParseUint(cmp.Or(os.Getenv(callsLeft), "0"), 10, 64)
	if err != nil {
		return err
	}
	if calls > 0 {
		go killAfter(s, calls)
	}
	slog.Info("serving", "calls", calls)
	return s.Serve(context.Background(), nfs.Listeners{NFS: l, MountUDP: mount, PortmapUDP: portmap})
}

// exportsFile is the file in the server's directory with what it exports.
const exportsFile = "exports"

func writeExports(t *testing.T, dir string, exports []nfs.Export) {
	t.Helper()
	text, err := json.Marshal(exports)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, exportsFile), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readExports(dir string) (all []nfs.Export, err error) {
	text, err := os.ReadFile(filepath.Join(dir, exportsFile))
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}

// killAfter kills this process soon after s has answered so many calls.
func killAfter(s *nfs.Server, calls uint64) {
	for range time.Tick(10 * time.Millisecond) {
		answered := uint64(0)
		for _, p := range s.Stats() {
			answered += p.Calls
		}
		if answered >= calls {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
}

// startServer returns as soon as the server's process runs: clients wait. The
// server kills itself after so many calls; 0: never.
func startServer(t *testing.T, network *netlab.Namespace, dir string, calls uint64) *child {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), serveRole+"="+dir, fmt.Sprintf("%s=%d", callsLeft, calls))
	server := &child{}
	server.start(t, network, cmd)
	return server
}

// A syncBuffer is a bytes.Buffer for one writer and readers beside it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
