// Package mediafile reads MPEG-TS and CMAF segments: which codec, how many
// frames, from when to when. It reads headers and decodes nothing. Its input is
// untrusted, so every length is checked against a limit before memory is
// allocated.
package mediafile

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/asticode/go-astits"
)

// A SegmentInfo describes one segment: one stream of video or of audio.
type SegmentInfo struct {
	Codecs     string // RFC 6381, e.g. avc1.4d400d; "" if no frame says it
	Frames     int    // pictures, or AAC frames
	FirstPTS   int64  // lowest, 90 kHz
	LastPTS    int64  // highest, 90 kHz: of the last frame, not its end
	Key        bool   // the first picture is an IDR picture; always true of audio
	SampleRate int    // of audio; 0 for video
}

const tsPacketBytes = 188

// TicksPerSecond is the clock of MPEG-TS time stamps. Times of CMAF are given in
// it too.
const TicksPerSecond = 90000

// AAC-LC: the samples of a frame, and its name by RFC 6381.
const (
	AACFrameSamples = 1024
	AACCodecs       = "mp4a.40.2"
)

// InspectTS reads a segment of one elementary stream to its end. It counts
// frames, it does not decode them. Memory grows with the longest access unit:
// bound r if it may be anything.
func InspectTS(r io.Reader) (SegmentInfo, error) {
	ctx := context.Background() // the demuxer's calls are bounded by r alone
	demuxer := astits.NewDemuxer(ctx, r, astits.DemuxerOptPacketSize(tsPacketBytes))
	i := inspector{}
	for {
		data, err := demuxer.NextData()
		if errors.Is(err, astits.ErrNoMorePackets) {
			return i.result()
		}
		if err != nil {
			return SegmentInfo{}, fmt.Errorf("reading MPEG-TS: %w", err)
		}
		if err := i.add(data); err != nil {
			return SegmentInfo{}, fmt.Errorf("reading MPEG-TS: %w", err)
		}
	}
}

// An inspector gathers a SegmentInfo.
type inspector struct {
	info   SegmentInfo
	pid    uint16 // of the elementary stream; 0 before the program map
	stream astits.StreamType
}

func (i *inspector) add(data *astits.DemuxerData) error {
	if data.PMT != nil {
		return i.readProgramMap(data.PMT)
	}
	if data.PES == nil || i.pid == 0 || data.PID != i.pid {
		return nil
	}
	header := data.PES.Header.OptionalHeader
	if header == nil || header.PTS == nil {
		return fmt.Errorf("access unit %d has no time stamp", i.info.Frames)
	}
	if i.stream == astits.StreamTypeH264Video {
		i.addPicture(header.PTS.Base, data.PES.Data)
		return nil
	}
	return i.addAudio(header.PTS.Base, data.PES.Data)
}

func (i *inspector) readProgramMap(pmt *astits.PMTData) error {
	if len(pmt.ElementaryStreams) != 1 {
		return fmt.Errorf("%d elementary streams; want one", len(pmt.ElementaryStreams))
	}
	s := pmt.ElementaryStreams[0]
	if s.StreamType != astits.StreamTypeH264Video && s.StreamType != astits.StreamTypeAACAudio {
		return fmt.Errorf("stream type %#x; want H.264 (0x1b) or ADTS AAC (0x0f)", uint8(s.StreamType))
	}
	if i.pid != 0 && (i.pid != s.ElementaryPID || i.stream != s.StreamType) {
		return errors.New("the program map changes within the segment")
	}
	i.pid, i.stream = s.ElementaryPID, s.StreamType
	return nil
}

// count adds frames of which the first and the last are shown at these times.
func (i *inspector) count(frames int, first, last int64) {
	if i.info.Frames == 0 {
		i.info.FirstPTS, i.info.LastPTS = first, last
	}
	i.info.FirstPTS = min(i.info.FirstPTS, first)
	i.info.LastPTS = max(i.info.LastPTS, last)
	i.info.Frames += frames
}

func (i *inspector) addPicture(pts int64, data []byte) {
	if i.info.Frames == 0 || i.info.Codecs == "" {
		sps, idr := scanNALs(data)
		i.info.Key = i.info.Key || idr && i.info.Frames == 0
		i.info.Codecs = sps
	}
	i.count(1, pts, pts)
}

// H.264 NAL unit types, ISO 14496-10 table 7-1.
const (
	nalIDR = 5
	nalSPS = 7
)

// scanNALs looks through an Annex B access unit for a sequence parameter set,
// whose first three bytes name the codec, and for a slice of an IDR picture.
func scanNALs(data []byte) (codecs string, idr bool) {
	for {
		start := bytes.Index(data, []byte{0, 0, 1})
		if start < 0 || start+3 >= len(data) {
			return codecs, idr
		}
		data = data[start+3:]
		switch data[0] & 0x1f {
		case nalIDR:
			return codecs, true // slices follow the parameter sets
		case nalSPS:
			if len(data) >= 4 {
				codecs = "avc1." + hex.EncodeToString(data[1:4])
			}
		}
	}
}

func (i *inspector) addAudio(pts int64, data []byte) error {
	frames := 0
	for len(data) > 0 {
		size, rate, err := parseADTS(data)
		if err != nil {
			return fmt.Errorf("AAC frame %d: %w", i.info.Frames+frames, err)
		}
		if i.info.SampleRate != 0 && i.info.SampleRate != rate {
			return fmt.Errorf("AAC frame %d: %d Hz after %d Hz", i.info.Frames+frames, rate, i.info.SampleRate)
		}
		i.info.SampleRate = rate
		data = data[size:]
		frames++
	}
	if frames == 0 {
		return nil
	}
	span := int64(frames-1) * AACFrameSamples * TicksPerSecond / int64(i.info.SampleRate)
	i.count(frames, pts, pts+span)
	i.info.Key, i.info.Codecs = true, AACCodecs
	return nil
}

const adtsHeaderBytes = 7

// adtsRates are the sampling frequencies of ISO 14496-3 table 1.18.
var adtsRates = []int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// parseADTS reads the ADTS header (ISO 14496-3 §1.A.2) at the start of data.
// It returns how many bytes the frame has, header included, all of them in data.
func parseADTS(data []byte) (size, rate int, err error) {
	if len(data) < adtsHeaderBytes {
		return 0, 0, fmt.Errorf("%d bytes left; want a header of %d", len(data), adtsHeaderBytes)
	}
	if data[0] != 0xff || data[1]&0xf6 != 0xf0 {
		return 0, 0, fmt.Errorf("header begins with %x; want an ADTS sync word", data[:2])
	}
	if profile := data[2] >> 6; profile != 1 {
		return 0, 0, fmt.Errorf("AAC profile %d; want 1 (low complexity)", profile)
	}
	index := int(data[2] >> 2 & 0xf)
	if index >= len(adtsRates) {
		return 0, 0, fmt.Errorf("sampling frequency index %d; want 0 to %d", index, len(adtsRates)-1)
	}
	size = int(data[3]&3)<<11 | int(data[4])<<3 | int(data[5])>>5
	if size < adtsHeaderBytes || size > len(data) {
		return 0, 0, fmt.Errorf("frame of %d bytes in %d; want it whole", size, len(data))
	}
	if blocks := data[6] & 3; blocks != 0 {
		return 0, 0, fmt.Errorf("%d raw data blocks in one frame; want 1", blocks+1)
	}
	return size, adtsRates[index], nil
}

func (i *inspector) result() (SegmentInfo, error) {
	if i.info.Frames == 0 {
		return SegmentInfo{}, errors.New("reading MPEG-TS: no frames in it; want video or audio with its program map")
	}
	return i.info, nil
}
