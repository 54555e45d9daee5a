package hls

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// film describes a source with stereo sound.
func film(width, height int, rate transcode.Rational, seconds float64) transcode.Probe {
	return transcode.Probe{
		Seconds: seconds,
		Video:   &transcode.VideoStream{Codec: "h264", Width: width, Height: height, Rate: rate, EndSeconds: seconds},
		Audio:   &transcode.AudioStream{Codec: "aac", Channels: 2, SampleRate: 44100, EndSeconds: seconds},
	}
}

// testPlan is of 65 s of film: two units for each of two renditions, and audio.
func testPlan(t testing.TB) transcode.Plan {
	t.Helper()
	p, err := transcode.NewPlan(transcode.Request{}, film(320, 180, transcode.Rational{Num: 24000, Den: 1001}, 65), 0)
	if err != nil {
		t.Fatal(err)
	}
	audio, video := unitsOf(p)
	half, _ := p.Grid.Segment(p.Grid.Segments() / 2)
	p.Units = nil
	for _, r := range p.Renditions {
		p.Units = append(p.Units, videoUnit(video, r, 0, 0, half), videoUnit(video, r, 1, half, p.Grid.Frames))
	}
	p.Units = append(p.Units, audio)
	return p
}

// unitsOf returns the audio unit of a plan and one of its video units.
func unitsOf(p transcode.Plan) (audio, video transcode.Unit) {
	for _, u := range p.Units {
		if u.Audio != nil {
			audio = u
		} else {
			video = u
		}
	}
	return audio, video
}

// videoUnit returns a unit like another, of one rendition from first to end.
func videoUnit(like transcode.Unit, r transcode.Rendition, number, first, end int) transcode.Unit {
	video := *like.Video
	video.Rendition, video.Others, video.FirstFrame, video.EndFrame = r, nil, first, end
	like.ID, like.Video = fmt.Sprintf("v-%s-%04d", r.Name, number), &video
	return like
}

// goodResults returns the results of all units of p.
func goodResults(p transcode.Plan) map[string]transcode.Result {
	results := make(map[string]transcode.Result)
	for _, u := range p.Units {
		size := int64(100_000)
		if u.Audio != nil {
			size = 50_000
		}
		results[u.ID] = goodResult(u, size)
	}
	return results
}

// goodResult returns the result that u asks for, with segments of this size.
func goodResult(u transcode.Unit, sizeBytes int64) transcode.Result {
	if u.Audio != nil {
		return goodAudio(*u.Audio, sizeBytes)
	}
	r := transcode.Result{Encoder: "libx264", Codecs: "avc1.4d400d", FPS: 12, Took: time.Minute}
	first, end := u.Video.Segments()
	g := u.Video.Grid
	for i := first; i < end; i++ {
		from, to := g.Segment(i)
		r.Segments = append(r.Segments, transcode.Segment{
			Name: u.Container().SegmentName(i), SizeBytes: sizeBytes, SHA256: strings.Repeat("ab", 32), Frames: to - from,
			FirstPTS: g.PTS(from), LastPTS: g.PTS(to - 1), Key: true, Seconds: g.Seconds(to - from),
		})
	}
	return r
}

// frameTicks is the length of an AAC frame in ticks of 90 kHz.
const frameTicks = 1920

func goodAudio(a transcode.AudioUnit, sizeBytes int64) transcode.Result {
	r := transcode.Result{Encoder: "aac", Codecs: transcode.AudioCodecs}
	left := int(math.Ceil(a.Rendition.Seconds*transcode.AudioSampleRate/transcode.AudioFrameSamples)) + 1 // one of priming
	per := int(a.SegmentSeconds * transcode.AudioSampleRate / transcode.AudioFrameSamples)
	pts := int64(transcode.StartPTS - frameTicks)
	for ; left > 0; left -= per {
		n := min(left, per)
		r.Segments = append(r.Segments, transcode.Segment{
			Name: a.Container.SegmentName(len(r.Segments)), SizeBytes: sizeBytes, SHA256: strings.Repeat("ab", 32), Frames: n,
			FirstPTS: pts, LastPTS: pts + int64(n-1)*frameTicks, Key: true, Seconds: transcode.AudioSeconds(n),
		})
		pts += int64(n) * frameTicks
	}
	return r
}
