package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// SeekName is the master playlist of a stream that players can look anywhere in while it
// is made: its playlists list all that the plan has.
const SeekName = "seek.m3u8"

// A StreamFile is a file of a stream: the text of a playlist, or else the path of a file
// in the media share.
type StreamFile struct {
	Text []byte
	Path string
}

// StreamFile returns a file of a progressive job's stream by its path within that.
// Playlists are those of the whole stream, whose master is SeekName. A segment that is not
// there yet is encoded before the others of its job; StreamFile waits for it until ctx
// ends, and then returns ErrNotYet. Errors match ErrNoJob or fs.ErrNotExist where there
// will be no such file.
func (q *Queue) StreamFile(ctx context.Context, id int64, name string) (StreamFile, error) {
	changed, stop := q.watches.add(id)
	defer stop()
	for {
		file, err := q.streamFile(context.WithoutCancel(ctx), id, name)
		if !errors.Is(err, ErrNotYet) {
			return file, err
		}
		if !received(ctx, changed) || !pause.For(ctx, streamFileEvery) {
			return file, err
		}
	}
}

// streamFileEvery is the shortest time between two looks for a file.
const streamFileEvery = 50 * time.Millisecond

// streamFile is StreamFile without waiting.
func (q *Queue) streamFile(ctx context.Context, id int64, name string) (StreamFile, error) {
	var state State
	var request column[transcode.Request]
	var plan column[transcode.Plan]
	var output string
	err := q.store.QueryRow(ctx, `SELECT state, request, plan, output FROM jobs WHERE id = ?`, id).Scan(&state, &request, &plan, &output)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return StreamFile{}, ErrNoJob
	case err != nil:
		return StreamFile{}, err
	case !request.V.Progressive:
		return StreamFile{}, fmt.Errorf("job %d is not progressive: %w", id, fs.ErrNotExist)
	case state == Done:
		return StreamFile{Path: path.Join(output, finalName(request.V, name))}, nil
	case state.Ended():
		return StreamFile{}, fmt.Errorf("job %d is %s: %w", id, state, fs.ErrNotExist)
	case path.Ext(name) == ".m3u8":
		return q.wholePlaylist(ctx, id, name)
	}
	at, known := placeOf(plan.V, name)
	if !known && len(plan.V.Renditions)+len(plan.V.AudioRenditions()) > 0 {
		return StreamFile{}, fmt.Errorf("job %d: the stream has no %q: %w", id, clip(name, maxReason), fs.ErrNotExist)
	}
	if q.places.of(id).began.IsZero() {
		return StreamFile{}, ErrNotYet // until it has its name
	}
	file := path.Join(output, name)
	if there, err := exists(q.media, file); err != nil || there {
		return StreamFile{Path: file}, err
	}
	now := time.Now()
	q.places.ask(id, at.at, now)
	if err := q.preempt(ctx, id, at, now); err != nil {
		return StreamFile{}, err
	}
	return StreamFile{}, ErrNotYet
}

// finalName returns what a file is called in a stream that is whole.
func finalName(r transcode.Request, name string) string {
	if name == SeekName {
		return r.Master()
	}
	return name
}

// placeOf returns where in a stream a file belongs.
func placeOf(p transcode.Plan, name string) (w wanted, known bool) {
	n := p.Output.Naming
	for _, dir := range p.Dirs() {
		base, in := strings.CutPrefix(name, n.Place(dir)+"/")
		if !in {
			continue
		}
		if base == transcode.InitName {
			return wanted{dir: dir}, p.Output.SegmentContainer() == transcode.ContainerCMAF
		}
		i := slices.IndexFunc(p.PlannedSegments(dir), func(s transcode.Segment) bool { return n.File(s.Name) == base })
		return wanted{dir, p.Grid.Seconds(max(i, 0) * p.Grid.SegmentFrames)}, i >= 0
	}
	return wanted{}, p.Output.Encrypted && p.Output.KeyURI == "" && isKey(p, name)
}

// isKey reports whether a file is a key of a stream.
func isKey(p transcode.Plan, name string) bool {
	n := p.Output.Naming
	for i := range p.Grid.Segments() {
		if i%max(n.KeyEvery, 1) == 0 && n.Key(i) == name {
			return true
		}
		if n.KeyEvery == 0 {
			break
		}
	}
	return false
}

// wholePlaylist returns a playlist of all that the plan of a job has.
func (q *Queue) wholePlaylist(ctx context.Context, id int64, name string) (StreamFile, error) {
	st, err := q.readResultsOf(ctx, id)
	if err != nil {
		return StreamFile{}, err
	}
	sealed, err := q.sealedKeys(st)
	if err != nil {
		return StreamFile{}, err
	}
	texts, err := hls.Whole(st.plan, st.results, sealed)
	if err != nil {
		return StreamFile{}, err
	}
	if len(texts) == 0 {
		return StreamFile{}, ErrNotYet
	}
	text, ok := texts[finalName(st.request, name)]
	if !ok {
		return StreamFile{}, fmt.Errorf("job %d: the stream has no %q: %w", id, clip(name, maxReason), fs.ErrNotExist)
	}
	return StreamFile{Text: text}, nil
}

// sealedKeys reads the first key of a stream with encrypted samples: its playlists have
// what follows from it.
func (q *Queue) sealedKeys(st *stream) (hls.Sealed, error) {
	if !st.request.SampleAES {
		return hls.Sealed{}, nil
	}
	if q.places.of(st.job).began.IsZero() {
		return hls.Sealed{}, ErrNotYet
	}
	file := st.request.Key(0)
	if st.request.KeyURI != "" {
		file = "." + file
	}
	key, err := q.media.ReadFile(path.Join(st.output, file))
	if errors.Is(err, fs.ErrNotExist) {
		return hls.Sealed{}, ErrNotYet
	}
	if err != nil {
		return hls.Sealed{}, err
	}
	keys, err := sampleKeys(map[string][]byte{st.request.Key(0): key})
	return hls.Sealed{Keys: keys}, err
}
