package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"pibootd/images"
	"pibootd/pkg/rootfs/filetree"
)

// unpack unpacks every package, several at a time: kernel and firmware into
// the hardware tree, the others into the root, without what no board needs.
func (b *build) unpack(ctx context.Context) error {
	patterns, err := images.List("drop")
	if err != nil {
		return err
	}
	unwanted := newPatterns(patterns)
	var mu sync.Mutex
	done := 0
	unpacking, ctx := errgroup.WithContext(ctx)
	unpacking.SetLimit(filetree.Workers)
	for _, deb := range b.debs {
		unpacking.Go(func() error {
			x := &filetree.Extractor{Root: b.root, Keep: func(name string) bool { return !unwanted.match(merged(name)) }}
			if deb.name == firmwarePackage || kernelName.MatchString(deb.name) {
				x = &filetree.Extractor{Root: b.hardware}
			}
			if err := extractDeb(ctx, x, deb.file); err != nil {
				return fmt.Errorf("package %s: %w", deb.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			b.progress.Report("unpack", int64(done), int64(len(b.debs)))
			return nil
		})
	}
	return unpacking.Wait()
}

// extractDeb unpacks a Debian package.
func extractDeb(ctx context.Context, x *filetree.Extractor, file string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	unpacked := x.Extract(ctx, out)
	_, drained := io.Copy(io.Discard, out)
	return errors.Join(unpacked, drained, commandError(ctx, cmd, &complaints, cmd.Wait()))
}

// merged is where a package's file ends up in a tree whose /bin, /sbin and
// /lib are links into /usr.
func merged(name string) string {
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "bin", "sbin", "lib":
		return path.Join("usr", name)
	}
	return name
}

// patterns match names of a tree, component by component (path.Match). A
// pattern for a directory matches everything in it, too.
type patterns []pattern

type pattern struct {
	text  string
	parts int
	below bool
}

func newPatterns(texts []string) patterns {
	var list patterns
	for _, text := range texts {
		trimmed := strings.TrimSuffix(text, "/")
		list = append(list, pattern{text: trimmed, parts: strings.Count(trimmed, "/") + 1, below: trimmed != text})
	}
	return list
}

func (list patterns) match(name string) bool {
	parts := strings.Split(name, "/")
	for _, p := range list {
		if len(parts) < p.parts || len(parts) > p.parts && !p.below {
			continue
		}
		if ok, err := path.Match(p.text, strings.Join(parts[:p.parts], "/")); err == nil && ok {
			return true
		}
	}
	return false
}
