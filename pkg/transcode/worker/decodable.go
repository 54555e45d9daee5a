package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"pibootd/pkg/transcode"
)

// A buildError is a fault of this build of ffmpeg, which lacks something. Another
// worker with the same build would fail too.
type buildError struct{ error }

func (e buildError) Unwrap() error { return e.error }

// lacking matches the lines in which ffmpeg reports that it was built without
// something, or knows no such option.
var lacking = regexp.MustCompile(`^(Unknown (encoder|decoder|input format)|Requested output format .* is not|No such filter|` +
	`Unrecognized option|Option .* not found|Undefined constant|Codec AVOption .* has not been used|Bitstream filter not found)`)

// setAside removes from a report the packets of the streams that this machine's ffmpeg
// cannot decode, and notes their codecs. It fails if no video is left of which there
// was one.
func (w *Worker) setAside(ctx context.Context, r *report) error {
	suspects := r.suspects()
	if len(suspects) == 0 {
		return nil
	}
	decoders, err := w.softwareDecoders(ctx)
	if err != nil {
		return err
	}
	lost := ""
	for _, s := range suspects {
		if decoders[s.CodecName] {
			continue
		}
		delete(r.packets, s.Index)
		r.undecodable = append(r.undecodable, s.CodecType+" ("+s.codec()+")")
		if s.CodecType == "video" && lost == "" {
			lost = s.codec()
		}
	}
	if lost != "" && r.first("video") == nil {
		return buildError{fmt.Errorf("its video is %s, which this ffmpeg cannot decode", lost)}
	}
	return nil
}

// suspects returns the streams of pictures and sound about which a decoder would have
// told more.
func (r *report) suspects() []*stream {
	var list []*stream
	for i := range r.streams {
		s := &r.streams[i]
		unknown := s.CodecType == "video" && s.PixFmt == "" || s.CodecType == "audio" && whole(s.SampleRate) == 0
		if r.packets[s.Index] != nil && (unknown || s.CodecName == "" && (s.CodecType == "video" || s.CodecType == "audio")) {
			list = append(list, s)
		}
	}
	return list
}

// codec names a stream's codec: by ffmpeg's name, or else by the container's.
func (s *stream) codec() string {
	tag := strings.TrimFunc(s.CodecTag, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' })
	switch {
	case s.CodecName != "" && s.CodecName != "unknown":
		return cut(s.CodecName)
	case tag != "" && !strings.HasPrefix(tag, "["):
		return text(tag)
	}
	return "of a codec that it does not know"
}

// softwareDecoders returns the codecs that ffmpeg was built to decode.
func (w *Worker) softwareDecoders(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	list := child{
		name: w.ffmpeg(), args: []string{"-nostdin", "-hide_banner", "-codecs"},
		stdout: func(r io.Reader) error { return readCodecs(r, names) },
	}
	if stderr, err := list.run(ctx); err != nil {
		return nil, fmt.Errorf("listing ffmpeg's decoders: %w", explained(err, stderr))
	}
	return names, nil
}

// readCodecs reads ffmpeg's list of codecs. A line has flags, of which the first is D
// if there is a decoder, and the name.
func readCodecs(r io.Reader, names map[string]bool) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if flags, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " "); strings.HasPrefix(flags, "D") {
			name, _, _ := strings.Cut(rest, " ")
			names[name] = true
		}
	}
	return lines.Err()
}

// lacks wraps err, the failure of an ffmpeg with this output, if its build is at fault.
func lacks(err error, stderr []string) error {
	if lacking.MatchString(cause(stderr)) {
		return buildError{err}
	}
	return err
}

// failed reports to the queue why an attempt failed.
func (a *attempt) failed(err error, stderr []string, stopped bool) transcode.Failed {
	return transcode.Failed{
		Job: a.job, Unit: a.unit.ID, Attempt: a.number, Reason: err.Error(), Stderr: stderr,
		Final: errors.Is(err, errSource), OtherBuild: errors.As(err, new(buildError)), Stopped: stopped,
	}
}
