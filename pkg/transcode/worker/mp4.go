package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// mp4 adds to p what ffmpeg does not tell of MP4: films that were appended to the source, of
// which it reads the first one as players do, and edit lists that it does not follow.
func (w *Worker) mp4(ctx context.Context, source string, r *report, p *transcode.Probe) error {
	if !r.isMP4() {
		return nil
	}
	from := w.bytesOf(source, p.SizeBytes)
	readAt := func(buf []byte, at int64) (int, error) { return from.readAt(ctx, buf, at) }
	films, err := mediafile.ReadMovies(readAt, r.lastEnd, p.SizeBytes)
	if err != nil || len(films) == 0 {
		return err
	}
	for _, f := range films[1:] {
		p.MoreFilms, p.MoreSeconds = p.MoreFilms+1, min(p.MoreSeconds+f.Seconds, mostSeconds)
	}
	edits, err := mediafile.ReadEdits(readAt, films[0])
	if err == nil {
		r.addStill(p, edits)
	}
	return err
}

// addStill adds to p where its edit lists show or play nothing new. ffmpeg plays the beginning
// of the source there, or moves on.
func (r *report) addStill(p *transcode.Probe, edits []mediafile.Edits) {
	if v, film := p.Video, r.film(); v != nil && len(p.Spans) == 0 {
		v.Still = stretchesOf(edits, film, p.Start, 1/max(v.Rate.Float(), 1))
		for _, h := range v.Still {
			v.MaxGapSeconds = max(v.MaxGapSeconds, h.To-h.From+1)
		}
	}
	streams := r.ofKind("audio")
	still := func(a *transcode.AudioStream) {
		if a != nil && a.Stream < len(streams) {
			a.Still = stretchesOf(edits, streams[a.Stream], p.Start, 0)
		}
	}
	still(p.Audio)
	for i := range p.MoreAudio {
		still(&p.MoreAudio[i])
	}
}

// stretchesOf returns where the edit list of a stream shows nothing new, in seconds after
// start. A frame that it dwells on lasts frame seconds.
func stretchesOf(edits []mediafile.Edits, s *stream, start, frame float64) []transcode.Held {
	i := slices.IndexFunc(edits, func(e mediafile.Edits) bool {
		return fmt.Sprintf("0x%x", e.Track) == s.ID || strconv.Itoa(int(e.Track)) == s.ID
	})
	if i < 0 {
		return nil
	}
	var list []transcode.Held
	at, begun := -start, false
	for _, e := range edits[i].List {
		switch end := at + e.Seconds; {
		case len(list) >= maxPauses-1 || end > mostSeconds:
			return list
		case e.Empty && begun && end > 0:
			list = append(list, transcode.Held{From: max(at, 0), To: end})
		case e.Dwell && end > at+frame && at >= 0:
			list = append(list, transcode.Held{From: at + frame/2, To: end})
		}
		at, begun = at+e.Seconds, begun || !e.Empty
	}
	return list
}
