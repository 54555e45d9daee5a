package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// upload returns the path of a video in the media share of a daemon on another
// machine, to which it sends a file of this one. A name that does not exist here is
// a path in the share.
func upload(c *cli.Context, std streams, video string) (string, error) {
	file, err := os.Open(video)
	if errors.Is(err, fs.ErrNotExist) && filepath.IsLocal(video) {
		return filepath.ToSlash(filepath.Clean(video)), nil
	}
	if err != nil {
		return "", fmt.Errorf("video: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("video: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("video: %s is not a regular file", video)
	}
	name := "uploads/" + uploadName(video)
	m := newMeter(std)
	defer m.clear()
	sent := int64(0)
	body := readerFunc(func(p []byte) (int, error) {
		n, err := file.Read(p)
		sent += int64(n)
		m.report("upload", sent, info.Size())
		return n, err
	})
	uploaded, err := client(c).Upload(c.Context, name, body, info.Size())
	if err != nil {
		return "", fmt.Errorf("uploading %s: %w", printable(video), err)
	}
	return uploaded.Path, nil
}

// uploadName returns what a file of this machine is called in an upload.
func uploadName(file string) string {
	return strings.ToValidUTF8(strings.TrimLeft(filepath.Base(file), "."), "_")
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
