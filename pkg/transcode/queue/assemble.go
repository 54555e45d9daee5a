package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// assemble collects the files of a job's output in an unpublished directory, the
// playlists last.
func (q *Queue) assemble(ctx context.Context, st *stream) error {
	if st.request.IsFile() {
		return q.moveSegments(ctx, st, nil)
	}
	for _, dir := range append([]string{""}, st.dirs...) {
		if err := q.makePublicDir(path.Join(st.work(), dir)); err != nil {
			return err
		}
	}
	var key []byte
	if st.request.Encrypted {
		var err error
		if key, err = q.streamKey(st); err != nil {
			return err
		}
	}
	if err := q.moveSegments(ctx, st, key); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(st.playlists)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.writePlaylist(path.Join(st.work(), name), st.playlists[name]); err != nil {
			return err
		}
	}
	for _, dir := range append(slices.Clone(st.dirs), "") {
		if err := syncPath(q.media, path.Join(st.work(), dir)); err != nil {
			return err
		}
	}
	return errors.Join(ctx.Err(), q.checkStream(st))
}

// checkStream checks the assembled stream as a strict player would.
func (q *Queue) checkStream(st *stream) error {
	root, err := q.media.OpenRoot(st.work())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := hls.Check(root.FS()); err != nil {
		return fmt.Errorf("%w: %w", errUnpublishable, err)
	}
	return nil
}

func (q *Queue) moveSegments(ctx context.Context, st *stream, key []byte) error {
	for _, s := range st.segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.moveSegment(s, path.Join(st.work(), s.to), key); err != nil {
			return err
		}
	}
	return nil
}

// moveSegment moves an accepted segment into the assembled stream, unless that was
// done before. An encrypted stream gets an encrypted copy.
func (q *Queue) moveSegment(s segment, to string, key []byte) error {
	var err error
	if s.encrypted {
		err = q.encryptSegment(s, to, key)
	} else {
		err = q.media.Rename(s.from, to)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = q.verifySize(to, s.publishedBytes())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOtherFile) {
		return fmt.Errorf("%w: after it was accepted a segment has changed: %w", errUnpublishable, err)
	}
	if err != nil {
		return err
	}
	if err := q.makePublic(to, fileMode); err != nil {
		return err
	}
	return syncPath(q.media, to)
}

// encryptSegment makes the encrypted copy of a segment, unless it exists.
func (q *Queue) encryptSegment(s segment, to string, key []byte) error {
	if there, err := exists(q.media, to); err != nil || there {
		return err
	}
	in, err := openRegular(q.media, s.from)
	if err != nil {
		return err
	}
	defer in.Close()
	temporary := to + ".part"
	out, err := q.media.Create(temporary)
	if err != nil {
		return err
	}
	err = hls.Encrypt(out, io.LimitReader(in, s.sizeBytes+1), key, s.number)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return q.media.Rename(temporary, to)
}

// hiddenKeyName is where the key is published that players get from elsewhere.
// What begins with a dot is not served, and the daemon's user alone can read it:
// boards read the share as its owner.
const hiddenKeyName = "." + transcode.KeyName

func (st stream) keyName() string {
	if st.request.KeyURI != "" {
		return hiddenKeyName
	}
	return transcode.KeyName
}

// streamKey returns the key of the assembled stream. It is durable before its first
// use, so that a file of another length was never used and is replaced.
func (q *Queue) streamKey(st *stream) ([]byte, error) {
	name := path.Join(st.work(), st.keyName())
	key, err := q.media.ReadFile(name)
	if err == nil && len(key) == hls.KeyBytes {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, hls.KeyBytes)
	rand.Read(key) // never fails
	file, err := q.media.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, keyMode)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(key)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, err
	}
	return key, nil
}

// revealKey lets players read the key of a published stream, if it is there for
// them.
func (q *Queue) revealKey(st *stream) error {
	if !st.request.Encrypted || st.request.KeyURI != "" {
		return nil
	}
	return q.makePublic(path.Join(st.output, transcode.KeyName), fileMode)
}

func (q *Queue) writePlaylist(name string, text []byte) error {
	if err := q.media.WriteFile(name, text, fileMode); err != nil {
		return err
	}
	if err := q.makePublic(name, fileMode); err != nil {
		return err
	}
	return syncPath(q.media, name)
}
