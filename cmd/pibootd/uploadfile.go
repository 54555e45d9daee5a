package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pibootd/pkg/web"

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
	sent := func(bytes int64) { m.report("upload", bytes, info.Size()) }
	if _, err := client(c).UploadFile(c.Context, web.LocalFile{Name: name, File: file, SizeBytes: info.Size(), Sent: sent}); err != nil {
		return "", fmt.Errorf("uploading %s: %w", printable(video), err)
	}
	return name, nil
}

// uploadName returns what a file of this machine is called in an upload.
func uploadName(file string) string {
	return strings.ToValidUTF8(strings.TrimLeft(filepath.Base(file), "."), "_")
}
