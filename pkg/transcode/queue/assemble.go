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
		return q.moveSegments(ctx, st, nil, nil)
	}
	keys, err := q.makePlace(st)
	if err != nil {
		return err
	}
	if err := q.moveSegments(ctx, st, keys, nil); err != nil {
		return err
	}
	if st.request.SampleAES {
		if err := q.describeSealed(st, keys); err != nil {
			return err
		}
	}
	if err := q.writePlaylists(ctx, st); err != nil {
		return err
	}
	return errors.Join(ctx.Err(), q.checkStream(st))
}

// makePlace makes the directories of st, and its keys.
func (q *Queue) makePlace(st *stream) (keys map[string][]byte, err error) {
	for _, dir := range append([]string{""}, st.dirs...) {
		if err := q.makePublicDir(path.Join(st.work(), dir)); err != nil {
			return nil, err
		}
	}
	return q.streamKeys(st)
}

// writePlaylists writes the playlists of st, and syncs its directories.
func (q *Queue) writePlaylists(ctx context.Context, st *stream) error {
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
	return nil
}

// checkStream checks the assembled stream as a strict player would.
func (q *Queue) checkStream(st *stream) error {
	root, err := q.media.OpenRoot(st.work())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := hls.CheckNamed(root.FS(), st.request.Naming); err != nil {
		return fmt.Errorf("%w: %w", errUnpublishable, err)
	}
	return nil
}

// moveSegments moves the accepted segments into the assembled stream, except those of
// units whose segments are there.
func (q *Queue) moveSegments(ctx context.Context, st *stream, keys map[string][]byte, there map[string]bool) error {
	for _, s := range st.segments {
		if there[s.unit] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.moveSegment(s, path.Join(st.work(), s.to), st.request.Naming, keys); err != nil {
			return err
		}
	}
	return nil
}

// moveSegment moves an accepted segment into the assembled stream, unless that was
// done before. An encrypted stream gets an encrypted copy.
func (q *Queue) moveSegment(s segment, to string, n transcode.Naming, keys map[string][]byte) error {
	var err error
	if s.encrypted {
		err = q.encryptSegment(s, to, n, keys)
	} else {
		err = q.media.Rename(s.from, to)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = q.verify(to, s)
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
func (q *Queue) encryptSegment(s segment, to string, n transcode.Naming, keys map[string][]byte) error {
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
	if s.init != "" {
		err = q.protect(out, in, s, n, keys)
	} else {
		err = hls.Encrypt(out, io.LimitReader(in, s.sizeBytes+1), keys[n.Key(s.number)], s.number)
	}
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return q.media.Rename(temporary, to)
}

// keyNames returns the names of all keys of st. Players that get them from elsewhere
// need none of these files: what begins with a dot is not served, and the daemon's
// user alone can read it, because boards read the share as its owner.
func (st stream) keyNames() []string {
	if !st.request.Encrypted {
		return nil
	}
	names := map[string]bool{}
	for _, s := range st.segments {
		if s.encrypted {
			names[st.request.Key(s.number)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// streamKeys returns the keys of the assembled stream by their names.
func (q *Queue) streamKeys(st *stream) (map[string][]byte, error) {
	keys := map[string][]byte{}
	for _, name := range st.keyNames() {
		file := name
		if st.request.KeyURI != "" {
			file = "." + name
		}
		key, err := q.streamKey(path.Join(st.work(), file))
		if err != nil {
			return nil, err
		}
		keys[name] = key
	}
	return keys, nil
}

// streamKey returns a key of the assembled stream. It is durable before its first
// use, so that a file of another length was never used and is replaced.
func (q *Queue) streamKey(name string) ([]byte, error) {
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

// revealKey lets players read the keys of a published stream, if they are there for
// them.
func (q *Queue) revealKey(st *stream) error {
	if st.request.KeyURI != "" {
		return nil
	}
	for _, name := range st.keyNames() {
		if err := q.makePublic(path.Join(st.output, name), fileMode); err != nil {
			return err
		}
	}
	return nil
}

// writePlaylist writes a playlist, which may be read at any time, as a whole.
func (q *Queue) writePlaylist(name string, text []byte) error {
	temporary := name + ".part"
	if err := q.media.WriteFile(temporary, text, fileMode); err != nil {
		return err
	}
	if err := q.makePublic(temporary, fileMode); err != nil {
		return err
	}
	return errors.Join(syncPath(q.media, temporary), q.media.Rename(temporary, name))
}
