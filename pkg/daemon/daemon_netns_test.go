//go:build netns

package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/web"
)

// A daemon starts without a command line, answers, keeps a second one off its
// state directory, and starts again on what it left when its context ended.
func TestRun(t *testing.T) {
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	cfg := config.Default()
	cfg.Interface, cfg.StateDir, cfg.NFS.Driver = "br0", filepath.Join(t.TempDir(), "state"), config.Embedded
	for range 2 {
		stop := start(t, network, cfg)
		info, err := web.NewClient(cfg.SocketFile()).Info(t.Context())
		if err != nil || info.Network != "10.77.0.1/24" || info.Version != "tested" {
			t.Errorf("Info = %+v, %v; want the lab's network and the tested version", info, err)
		}
		err = network.Do(func() error { return Run(t.Context(), Options{Config: cfg, Log: slog.New(slog.DiscardHandler)}) })
		var hinted interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), "in use by another pibootd") || !errors.As(err, &hinted) {
			t.Errorf("a second daemon: %v; want an error with a hint", err)
		}
		if err := stop(); err != nil {
			t.Errorf("Run = %v; want nil once its context has ended", err)
		}
	}
}

// start returns when a daemon serves; stop ends it and returns Run's error.
func start(t *testing.T, network *netlab.Namespace, cfg config.Config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		log := slog.New(slog.NewTextHandler(write, nil))
		err := network.Do(func() error { return Run(ctx, Options{Config: cfg, Version: "tested", Log: log}) })
		ended <- errors.Join(err, write.Close())
	}()
	lines := bufio.NewScanner(read)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=serving") {
		t.Log(lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, read) }() // a pipe that nobody reads would stop the daemon
	return func() error {
		cancel()
		return <-ended
	}
}
