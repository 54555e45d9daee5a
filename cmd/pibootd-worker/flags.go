package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"pibootd/pkg/transcode/worker"
)

// options name the source of a worker's configuration: a file, as on a board, or
// the other flags, as on a machine that pibootd add-worker registered.
type options struct {
	file string

	server    string
	name      string
	tokenFile string
	workDir   string
	boot      worker.Boot
}

// A usageError is a command line that cannot be understood.
type usageError struct{ error }

func addFlags(flags *flag.FlagSet) *options {
	o := &options{}
	flags.StringVar(&o.file, "config", worker.ConfigPath, "read the configuration `FILE` of a board")
	flags.StringVar(&o.server, "server", "", "connect to pibootd's HTTP port at `HOST:PORT`, on a machine that does not mount the media share")
	flags.StringVar(&o.name, "name", "", "use the `NAME` that pibootd add-worker registered (default: this machine's host name)")
	flags.StringVar(&o.tokenFile, "token-file", "", "read the token that pibootd add-worker printed from `FILE`")
	flags.StringVar(&o.workDir, "work-dir", "", "keep files in `DIR` until they are sent (default: one in the user's cache)")
	flags.IntVar(&o.boot.MuxID, "muxid", 0, "also accept work for the muxer `ID`")
	flags.BoolVar(&o.boot.HWDecode, "muxhwdec", false, "decode H.264 in hardware")
	return o
}

// read returns a worker's configuration. Errors of the command line itself are
// usageErrors.
func (o *options) read(flags *flag.FlagSet) (worker.Config, worker.Boot, error) {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.server != "" {
		if given["config"] {
			return worker.Config{}, worker.Boot{}, usageError{errors.New("--server and --config; want one of them")}
		}
		return o.readFlags()
	}
	for _, name := range []string{"name", "token-file", "work-dir", "muxid", "muxhwdec"} {
		if given[name] {
			return worker.Config{}, worker.Boot{}, usageError{fmt.Errorf("--%s without --server; on a board, the configuration file and the kernel command line set it", name)}
		}
	}
	config, err := worker.LoadConfig(o.file)
	if err != nil {
		return config, worker.Boot{}, err
	}
	boot, err := worker.ReadBoot("/proc/cmdline")
	return config, boot, err
}

func (o *options) readFlags() (worker.Config, worker.Boot, error) {
	config := worker.Config{Daemon: o.server, Name: o.name, WorkDir: o.workDir}
	if o.tokenFile == "" {
		return config, o.boot, usageError{errors.New("--server without --token-file; pibootd add-worker prints a token")}
	}
	if o.boot.MuxID < 0 {
		return config, o.boot, usageError{fmt.Errorf("--muxid %d; want a whole number from 1", o.boot.MuxID)}
	}
	token, err := worker.ReadPrivate(o.tokenFile)
	if err == nil && config.Name == "" {
		config.Name, err = os.Hostname()
	}
	if err == nil {
		config.WorkDir, err = workDir(o.workDir, config.Name)
	}
	if err != nil {
		return config, o.boot, err
	}
	config.Token = string(bytes.TrimSpace(token))
	return config, o.boot, config.Check()
}

// workDir returns the directory for the files of a worker, which is given or in
// the user's cache.
func workDir(given, name string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; give --work-dir", err)
	}
	return filepath.Join(cache, "pibootd-worker", name), nil
}
