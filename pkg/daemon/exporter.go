package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"

	"pibootd/pkg/config"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/nfsd"
)

// chooseDriver returns the driver that serves NFS: Embedded or Kernel.
func chooseDriver(ctx context.Context, cfg config.Config, addr netip.Addr, log *slog.Logger) (config.Driver, error) {
	if cfg.NFS.Driver == config.Embedded {
		return config.Embedded, nil
	}
	missing := nfsd.Available(ctx, addr)
	if missing == nil {
		log.Info("nfsd serves the exports", "component", "nfs", "addr", addr, "driver", config.Kernel)
		return config.Kernel, nil
	}
	if cfg.NFS.Driver == config.Kernel {
		return "", hintedError{fmt.Errorf("nfs.driver is %q: %w", config.Kernel, missing), `install and start nfs-kernel-server with NFSv3, or set nfs.driver = "embedded"`}
	}
	log.Info("pibootd serves the exports", "component", "nfs", "addr", addr, "driver", config.Embedded, "why", missing)
	return config.Embedded, nil
}

// openExporter returns the driver that cfg names. If that is pibootd's own server, it
// returns the server, too; else nil.
func openExporter(cfg config.Config, key []byte, log *slog.Logger) (fleet.Exporter, *nfs.Server, error) {
	kernel, err := nfsd.Open(nfsd.ExportsDir, log)
	if cfg.NFS.Driver == config.Kernel {
		return kernel, nil, err
	}
	if err == nil {
		err = withdraw(cfg, kernel)
	}
	if err != nil {
		log.Warn("nfsd still has exports of a previous start", "component", "nfs", "err", err)
	}
	server := &nfs.Server{Key: key, Log: log, CallsFile: filepath.Join(cfg.StateDir, "nfs-calls")}
	return server, server, nil
}

// withdraw removes from nfsd the exports of this state directory that are left
// from a start with that driver.
func withdraw(cfg config.Config, kernel *nfsd.Server) error {
	for _, e := range kernel.Exports() {
		if e.Dir != cfg.MediaDir() && !strings.HasPrefix(e.Dir, filepath.Join(cfg.StateDir, "roots")+"/") {
			continue
		}
		if err := kernel.Unexport(e.Path); err != nil {
			return err
		}
	}
	return nil
}
