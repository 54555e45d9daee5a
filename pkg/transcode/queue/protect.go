package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
	"pibootd/pkg/transcode/mediafile"
)

// protect writes a segment with encrypted samples, or an initialization section that
// says that they are. It names the first key.
func (q *Queue) protect(out io.Writer, in *os.File, s segment, n transcode.Naming, keys map[string][]byte) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if info.Size() != s.sizeBytes {
		return fmt.Errorf("%w: %w: %s has %d bytes; want %d", errUnpublishable, errOtherFile, s.from, info.Size(), s.sizeBytes)
	}
	sealed, err := sampleKeys(keys)
	if err != nil {
		return err
	}
	plain, err := q.readInit(s.init)
	if err != nil {
		return err
	}
	init, protector, err := mediafile.ProtectInit(plain, sealed[n.Key(0)])
	if err == nil && s.from == s.init {
		_, err = out.Write(init)
	} else if err == nil {
		err = protector.Protect(out, in, sealed[n.Key(s.number)])
	}
	if ours := (*fs.PathError)(nil); err != nil && !errors.As(err, &ours) {
		return fmt.Errorf("%w: %s: %w", errUnpublishable, s.from, err) // what is in it, not the disk
	}
	return err
}

func (q *Queue) readInit(name string) ([]byte, error) {
	in, err := openRegular(q.media, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.LimitReader(in, mediafile.MaxInitBytes+1))
}

func sampleKeys(keys map[string][]byte) (map[string]mediafile.SampleKey, error) {
	list := map[string]mediafile.SampleKey{}
	for name, key := range keys {
		var err error
		if list[name], err = mediafile.NewSampleKey(key); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// describeSealed writes the playlists of st anew, with the sizes of segments that have
// encrypted samples.
func (q *Queue) describeSealed(st *stream, keys map[string][]byte) error {
	sealed, err := q.sealed(st, keys)
	if err != nil {
		return err
	}
	if st.playlists, err = hls.Playlists(st.plan, st.results, sealed); err != nil {
		return fmt.Errorf("%w: %w", errUnpublishable, err)
	}
	return nil
}

// sealed reads what has become of the segments of st, which are at their place.
func (q *Queue) sealed(st *stream, keys map[string][]byte) (hls.Sealed, error) {
	sealed := hls.Sealed{Sizes: map[string]int64{}}
	for _, s := range st.segments {
		info, err := q.media.Lstat(path.Join(st.work(), s.to))
		if err != nil {
			return sealed, err
		}
		sealed.Sizes[s.to] = info.Size()
	}
	var err error
	sealed.Keys, err = sampleKeys(keys)
	return sealed, err
}
