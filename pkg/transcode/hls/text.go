package hls

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// isText reports whether a media playlist lists WebVTT.
func (m *mediaFile) isText() bool { return path.Ext(m.segments[0].uri) == ".vtt" }

// checkText makes sure that each segment says to which time stamp its cues refer, and
// has only cues of its time (RFC 8216bis §3.1.4).
func (m *mediaFile) checkText(fsys fs.FS) error {
	start := 0.0
	for _, s := range m.segments {
		end := start + s.seconds
		if err := checkCues(fsys, path.Join(path.Dir(m.uri), s.uri), start, end); err != nil {
			return fmt.Errorf("%s: %w", s.uri, err)
		}
		start = end
	}
	return nil
}

func checkCues(fsys fs.FS, name string, start, end float64) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	track, err := mediafile.ReadWebVTT(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if track.MPEGTS != transcode.StartPTS {
		return fmt.Errorf("X-TIMESTAMP-MAP=MPEGTS:%d; want %d", track.MPEGTS, int64(transcode.StartPTS))
	}
	slack := time.Millisecond
	for _, c := range track.Cues {
		if c.End < seconds(start)-slack || c.Start > seconds(end)+slack {
			return fmt.Errorf("a cue is shown from %v to %v; want it within %.3f to %.3f s", c.Start, c.End, start, end)
		}
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
