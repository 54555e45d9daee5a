package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
)

// inbox is the directory of the media share that videos are copied into.
const inbox = "inbox"

// intoShare returns the path of a video in the media share. It copies a file that
// is elsewhere. A name that does not exist here can be a path in the share.
func intoShare(ctx context.Context, std streams, share, video string) (string, error) {
	info, err := os.Stat(video)
	if errors.Is(err, fs.ErrNotExist) && filepath.IsLocal(video) {
		if _, err := os.Stat(filepath.Join(share, video)); err == nil {
			return filepath.ToSlash(filepath.Clean(video)), nil
		}
	}
	if err != nil {
		return "", hintedError{fmt.Errorf("video: %w", err), "give a file, or a path in the media share " + share}
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("video: %s is not a regular file", video)
	}
	if inside, ok := pathInside(share, video); ok {
		if !utf8.ValidString(inside) {
			return "", hintedError{fmt.Errorf("video: the name of %q is not UTF-8", video), "rename it, or give a video outside the media share, which is copied under a name that is"}
		}
		return inside, nil
	}
	if err := copySidecars(ctx, std, share, video); err != nil {
		return "", err
	}
	return copyIn(ctx, std, share, video, info.Size())
}

// copySidecars copies the files with subtitles that lie beside a video.
func copySidecars(ctx context.Context, std streams, share, video string) error {
	entries, err := os.ReadDir(filepath.Dir(video))
	if err != nil {
		return fmt.Errorf("looking for subtitles beside the video: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	for _, name := range transcode.Sidecars(filepath.Base(video), names) {
		file := filepath.Join(filepath.Dir(video), name)
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("subtitles: %w", err)
		}
		if _, err := copyIn(ctx, std, share, file, info.Size()); err != nil {
			return err
		}
	}
	return nil
}

// pathInside returns the path of file in dir if it is there.
func pathInside(dir, file string) (string, bool) {
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return "", false
	}
	realFile, err := filepath.EvalSymlinks(absolute)
	if err != nil {
		return "", false
	}
	inside, err := filepath.Rel(realDir, realFile)
	if err != nil || !filepath.IsLocal(inside) {
		return "", false
	}
	return filepath.ToSlash(inside), true
}

// copyIn copies a video into the share's inbox, whole or not at all. It keeps a
// file of the same name and content that is there already.
func copyIn(ctx context.Context, std streams, share, video string, size int64) (string, error) {
	// A job is sent as JSON, which allows only UTF-8.
	name := strings.ToValidUTF8(strings.TrimLeft(filepath.Base(video), "."), "_")
	target := filepath.Join(share, inbox, name)
	if there, err := os.Stat(target); err == nil && there.Size() == size {
		same, err := sameContent(video, target)
		if err != nil {
			return "", err
		}
		if same {
			return inbox + "/" + name, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", fmt.Errorf("copying the video: %w", err)
	}
	if _, err := os.Stat(target); err == nil {
		return "", hintedError{fmt.Errorf("copying the video: %s exists and is a different file", printable(target)), "rename the video, or remove that file"}
	}
	m := newMeter(std)
	defer m.clear()
	if err := copyFile(ctx, video, target, func(done int64) { m.report("copy", done, size) }); err != nil {
		return "", err
	}
	return inbox + "/" + name, nil
}

// copyFile copies a file so that target appears whole and durably.
func copyFile(ctx context.Context, source, target string, progress func(done int64)) error {
	in, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("copying the video: %w", err)
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.part")
	if err != nil {
		return fmt.Errorf("copying the video: %w", err)
	}
	_, err = io.Copy(out, &countingReader{ctx: ctx, in: in, progress: progress})
	if err = errors.Join(err, out.Chmod(0o644)); err != nil {
		err = errors.Join(err, out.Close(), os.Remove(out.Name()))
	} else {
		err = durable.Commit(out, target)
	}
	if err != nil {
		return fmt.Errorf("copying the video: %w", err)
	}
	return nil
}

// A countingReader reads until ctx ends and reports the bytes read so far.
type countingReader struct {
	ctx      context.Context
	in       io.Reader
	done     int64
	progress func(done int64)
}

func (r *countingReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.in.Read(p)
	r.done += int64(n)
	r.progress(r.done)
	return n, err
}

// sameContent compares two files of one size.
func sameContent(a, b string) (bool, error) {
	left, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer left.Close()
	right, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer right.Close()
	return equal(bufio.NewReader(left), bufio.NewReader(right))
}

// equal compares two readers byte by byte.
func equal(a, b io.ByteReader) (bool, error) {
	for {
		x, errA := a.ReadByte()
		y, errB := b.ReadByte()
		switch {
		case errA == io.EOF || errB == io.EOF:
			return errA == errB, nil
		case errA != nil || errB != nil:
			return false, errors.Join(errA, errB)
		case x != y:
			return false, nil
		}
	}
}
