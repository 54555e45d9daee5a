package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// LivePath returns the path of a live stream's master playlist at pibootd's HTTP server.
func LivePath(name string) string {
	return "/live/" + url.PathEscape(name) + "/" + transcode.MasterName
}

var (
	// ErrNotYet reports that what was asked for did not come in time.
	ErrNotYet = errors.New("it is not there yet")
	// ErrFarAhead reports a request for what is further ahead than players may ask for
	// (RFC 8216bis §6.2.5.2).
	ErrFarAhead = errors.New("it is too far ahead of the stream")
)

// A LivePlace is a place in a media playlist that a player waits for: a segment, or a part
// of it.
type LivePlace struct {
	Segment, Part int // Part -1 is the whole segment
}

// LiveMaster returns a live stream's master playlist. It waits, as long as ctx, until all
// renditions have begun. The error matches ErrNoLive or ErrNotYet.
func (q *Queue) LiveMaster(ctx context.Context, name string) ([]byte, error) {
	var text []byte
	err := q.awaitLive(ctx, name, func(s *liveStream) (bool, error) {
		if s.plan == nil {
			return false, nil
		}
		for _, r := range s.renditions() {
			if s.codecs[r] == "" {
				return false, nil
			}
		}
		text = hls.LiveMaster(*s.plan, s.codecs)
		return true, nil
	})
	return text, err
}

// LiveMedia returns the media playlist of a rendition. If place is not nil, it waits, as
// long as ctx, until the playlist has that (RFC 8216bis §6.2.5.2).
func (q *Queue) LiveMedia(ctx context.Context, name, rendition string, place *LivePlace) ([]byte, error) {
	var text []byte
	err := q.awaitLive(ctx, name, func(s *liveStream) (bool, error) {
		if s.plan == nil || !slices.Contains(s.renditions(), rendition) {
			return false, unknownRendition(s, rendition)
		}
		list := s.playlist(rendition, time.Now())
		ready, err := reached(list, place)
		if ready {
			text = list.Text()
		}
		return ready, err
	})
	return text, err
}

func unknownRendition(s *liveStream, rendition string) error {
	if s.plan == nil {
		return nil
	}
	return fmt.Errorf("rendition %.50q: %w", rendition, ErrNoLive)
}

// reached reports whether a playlist has a place.
func reached(list hls.LivePlaylist, place *LivePlace) (bool, error) {
	if len(list.Segments) == 0 {
		return list.Ended, nil
	}
	if place == nil || list.Ended {
		// Players without partial segments take a playlist of nothing else for empty.
		return !list.Segments[0].Open, nil
	}
	last := list.Segments[len(list.Segments)-1]
	next := last.Number
	if !last.Open {
		next++
	}
	switch {
	case place.Segment > next+2:
		return false, fmt.Errorf("segment %d; the stream is at %d: %w", place.Segment, next, ErrFarAhead)
	case place.Segment < last.Number || place.Segment == last.Number && !last.Open:
		return true, nil
	}
	return place.Segment == last.Number && place.Part >= 0 && place.Part < len(last.Parts), nil
}

// awaitLive calls f, at each change of a live stream, until it reports true or an error.
func (q *Queue) awaitLive(ctx context.Context, name string, f func(*liveStream) (bool, error)) error {
	s := q.live.named(name)
	if s == nil {
		return fmt.Errorf("live stream %.200q: %w", name, ErrNoLive)
	}
	for {
		s.mu.Lock()
		ready, err := f(s)
		changed, over := s.changed, !s.ended.IsZero()
		s.mu.Unlock()
		switch {
		case ready || err != nil:
			return err
		case over:
			return fmt.Errorf("live stream %.200q has ended: %w", name, ErrNoLive)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("live stream %.200q: %w", name, ErrNotYet)
		}
	}
}

// renditions returns the names of all renditions, that of audio last.
func (s *liveStream) renditions() []string {
	var list []string
	for _, r := range s.plan.Plan.Renditions {
		list = append(list, r.Name)
	}
	if s.plan.Audio != "" {
		list = append(list, s.plan.Audio)
	}
	return list
}

// playlist returns the playlist of a rendition, as far as the window goes. s.mu is held.
func (s *liveStream) playlist(rendition string, now time.Time) hls.LivePlaylist {
	if !s.ended.IsZero() {
		now = s.ended
	}
	list := s.allParts(rendition)
	list.Trim(now.Add(-time.Duration(s.request.Live.Window() * float64(time.Second))))
	if list.Hint == "" {
		list.Hint = nextPart(list.Segments, s.plan.SegmentParts)
	}
	return list
}

// allParts returns the playlist of all parts of a rendition before the first one that is
// still being made. s.mu is held.
func (s *liveStream) allParts(rendition string) hls.LivePlaylist {
	list := hls.LivePlaylist{Target: hls.LiveTarget(*s.plan), PartTarget: s.plan.PartSeconds(), Ended: !s.ended.IsZero()}
	if rendition == s.plan.Audio {
		list.PartTarget += transcode.LiveAudioSlack
	}
	for _, p := range s.parts {
		if p.Rendition != rendition {
			continue
		}
		if p.state == pending {
			if list.Hint == "" {
				list.Hint = partName(p.Segment, p.Index)
			}
			break
		}
		if len(list.Segments) == 0 {
			list.Discontinuities = p.Session
		}
		list.Segments = addToSegments(list.Segments, p, s.plan.SegmentParts)
	}
	if n := len(list.Segments); list.Ended && n > 0 {
		list.Segments[n-1].Open = false
	}
	return list
}

// addToSegments adds a part to the last segment, or begins another.
func addToSegments(list []hls.LiveSegment, p *livePart, parts int) []hls.LiveSegment {
	if n := len(list); n == 0 || list[n-1].Number != p.Segment {
		if n > 0 {
			list[n-1].Open = false
		}
		list = append(list, hls.LiveSegment{
			Number: p.Segment, Session: p.Session, Map: fmt.Sprintf("init-%d.mp4", p.Session), URI: fmt.Sprintf("%d.m4s", p.Segment),
			Time: time.UnixMilli(p.Time), Open: true,
		})
	}
	s := &list[len(list)-1]
	s.Parts = append(s.Parts, hls.LivePart{URI: partName(p.Segment, p.Index), Seconds: p.seconds, Gap: p.state == failed})
	s.Gap = s.Gap || p.state == failed
	s.Open = p.Index+1 < parts
	return list
}

func partName(segment, index int) string { return fmt.Sprintf("%d.%d.m4s", segment, index) }

// nextPart names the part behind all.
func nextPart(list []hls.LiveSegment, parts int) string {
	if len(list) == 0 {
		return ""
	}
	if last := list[len(list)-1]; last.Open {
		return partName(last.Number, len(last.Parts))
	}
	return partName(list[len(list)-1].Number+1, 0)
}

// A LiveFile is a file of a live stream.
type LiveFile struct {
	io.ReadCloser
	Bytes int64
}

// OpenLive opens a file that a media playlist names: an initialization section, a segment
// or a part. It waits, as long as ctx, for the part that is next. The error matches
// ErrNoLive if there is no such file, or ErrNotYet.
func (q *Queue) OpenLive(ctx context.Context, name, rendition, file string) (*LiveFile, error) {
	if session, ok := strings.CutPrefix(file, "init-"); ok {
		return q.openInit(ctx, name, rendition+"/"+strings.TrimSuffix(session, ".mp4"))
	}
	segment, index, err := parseLiveName(file)
	if err != nil {
		return nil, err
	}
	var files []string
	var size int64
	err = q.awaitLive(ctx, name, func(s *liveStream) (bool, error) {
		files, size = nil, 0
		for _, p := range s.parts {
			if p.Rendition != rendition || p.Segment != segment || index >= 0 && p.Index != index {
				continue
			}
			if p.state == pending {
				return false, nil
			}
			if p.state == done {
				files, size = append(files, p.file), size+p.bytes
			}
		}
		if len(files) > 0 {
			return true, nil
		}
		return false, s.unlessNext(rendition, segment, index)
	})
	if err != nil {
		return nil, err
	}
	return q.openFiles(files, size)
}

// unlessNext returns an error unless a part is the one that will be next.
func (s *liveStream) unlessNext(rendition string, segment, index int) error {
	if s.plan != nil && slices.Contains(s.renditions(), rendition) {
		if s.playlist(rendition, time.Now()).Hint == partName(segment, index) {
			return nil
		}
	}
	return fmt.Errorf("segment %d of rendition %.50q: %w", segment, rendition, ErrNoLive)
}

// parseLiveName reads SEGMENT.m4s or SEGMENT.PART.m4s; index is -1 of a segment.
func parseLiveName(file string) (segment, index int, err error) {
	number, ok := strings.CutSuffix(file, ".m4s")
	first, second, part := strings.Cut(number, ".")
	segment, err = strconv.Atoi(first)
	index = -1
	if part && err == nil {
		index, err = strconv.Atoi(second)
	}
	if !ok || err != nil || segment < 0 || part && index < 0 {
		return 0, 0, fmt.Errorf("file %.50q: %w", file, ErrNoLive)
	}
	return segment, index, nil
}

func (q *Queue) openInit(ctx context.Context, name, key string) (*LiveFile, error) {
	var init []byte
	err := q.awaitLive(ctx, name, func(s *liveStream) (bool, error) {
		if init = s.inits[key]; init == nil {
			return false, fmt.Errorf("initialization section %.80q: %w", key, ErrNoLive)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return &LiveFile{io.NopCloser(bytes.NewReader(init)), int64(len(init))}, nil
}

// openFiles opens several files as one.
func (q *Queue) openFiles(names []string, size int64) (*LiveFile, error) {
	var list joinedFiles
	var readers []io.Reader
	for _, name := range names {
		file, err := openRegular(q.media, name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoLive, err), list.Close())
		}
		list, readers = append(list, file), append(readers, file)
	}
	return &LiveFile{struct {
		io.Reader
		io.Closer
	}{io.MultiReader(readers...), list}, size}, nil
}

// joinedFiles are closed together.
type joinedFiles []io.Closer

// Close closes all of them.
func (j joinedFiles) Close() error {
	var errs []error
	for _, file := range j {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}
