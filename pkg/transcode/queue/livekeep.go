package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// keepLive publishes a live stream that has ended as a video. It can be interrupted at any
// point, and then begins again.
func (q *Queue) keepLive(ctx context.Context, id int64) error {
	s := q.live.get(id)
	st := &stream{job: id, request: s.request}
	if err := q.store.QueryRow(ctx, `SELECT output FROM jobs WHERE id = ?`, id).Scan(&st.output); err != nil {
		return err
	}
	if st.output == "" {
		if err := q.chooseOutput(ctx, st); err != nil {
			return err
		}
	}
	there, err := exists(q.media, path.Join(st.output, transcode.MasterName))
	if err == nil && !there {
		err = q.assembleLive(ctx, st, s)
	}
	if err != nil {
		return err
	}
	return q.write(ctx, func(t *transaction) error { return t.endJob(ctx, st.job, Done, "", nil) })
}

// assembleLive puts a live stream together and gives it its name.
func (q *Queue) assembleLive(ctx context.Context, st *stream, s *liveStream) error {
	if err := q.media.RemoveAll(st.work()); err != nil {
		return err
	}
	s.mu.Lock()
	plan, inits, codecs := s.plan, s.inits, s.codecs
	s.mu.Unlock()
	if plan == nil || len(codecs) == 0 {
		return fmt.Errorf("%w: nothing of it was encoded", errUnpublishable)
	}
	if err := q.makeOwnDir(transcode.JobDir(st.job)); err != nil {
		return err
	}
	if err := q.makePublicDir(st.work()); err != nil {
		return err
	}
	for _, rendition := range s.renditions() {
		if err := q.assembleRendition(ctx, st, s, rendition, inits); err != nil {
			return err
		}
	}
	if err := q.writePlaylist(path.Join(st.work(), transcode.MasterName), hls.LiveMaster(*plan, codecs)); err != nil {
		return err
	}
	return q.reveal(ctx, st)
}

// assembleRendition makes segments of the parts of a rendition, and their playlist.
func (q *Queue) assembleRendition(ctx context.Context, st *stream, s *liveStream, rendition string, inits map[string][]byte) error {
	dir := path.Join(st.work(), rendition)
	if err := q.makePublicDir(dir); err != nil {
		return err
	}
	s.mu.Lock()
	list := s.allParts(rendition)
	files := map[int][]string{}
	for _, p := range s.parts {
		if p.Rendition == rendition && p.state == done {
			files[p.Segment] = append(files[p.Segment], p.file)
		}
	}
	s.mu.Unlock()
	list.VOD = true
	for i, segment := range list.Segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i == 0 || segment.Map != list.Segments[i-1].Map {
			if err := q.writePlaylist(path.Join(dir, segment.Map), inits[initName(rendition, segment.Session)]); err != nil {
				return err
			}
		}
		if err := q.joinParts(path.Join(dir, segment.URI), files[segment.Number]); err != nil {
			return err
		}
	}
	return q.writePlaylist(path.Join(dir, transcode.MediaName), list.Text())
}

// joinParts writes a public file of the parts of a segment.
func (q *Queue) joinParts(to string, parts []string) error {
	out, err := q.media.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	for _, part := range parts {
		in, err := openRegular(q.media, part)
		if err == nil {
			_, err = io.Copy(out, in)
			err = errors.Join(err, in.Close())
		}
		if err != nil {
			return errors.Join(err, out.Close())
		}
	}
	return errors.Join(out.Sync(), out.Close(), q.makePublic(to, fileMode))
}
