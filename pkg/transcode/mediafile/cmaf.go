package mediafile

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// An InitInfo describes the one track of an initialization section.
type InitInfo struct {
	Codecs     string // RFC 6381, e.g. avc1.4d400d or hvc1.1.6.L93.b0
	Audio      bool
	SampleRate int // of audio; 0 for video
	Protection Protection
	timescale  int64
	editStart  int64 // media time at which the presentation begins
	defaults   sampleDefaults
}

// sampleDefaults apply to samples without values of their own.
type sampleDefaults struct{ duration, size, flags uint32 }

// InspectInit reads an initialization section.
func InspectInit(r io.Reader) (InitInfo, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxInitBytes+1))
	if err != nil {
		return InitInfo{}, fmt.Errorf("reading initialization section: %w", err)
	}
	if len(data) > MaxInitBytes {
		return InitInfo{}, fmt.Errorf("reading initialization section: more than %d bytes", MaxInitBytes)
	}
	info, err := parseInit(data)
	if err != nil {
		return InitInfo{}, fmt.Errorf("reading initialization section: %w", err)
	}
	return info, nil
}

func parseInit(data []byte) (InitInfo, error) {
	moov, err := find(data, "moov")
	if err != nil {
		return InitInfo{}, err
	}
	list, err := boxes(moov)
	if err != nil {
		return InitInfo{}, err
	}
	tracks := 0
	for _, b := range list {
		if b.kind == "trak" {
			tracks++
		}
	}
	if tracks != 1 {
		return InitInfo{}, fmt.Errorf("%d tracks; want one", tracks)
	}
	var info InitInfo
	if trex, err := find(moov, "mvex", "trex"); err == nil {
		f := fields{data: trex}
		f.bytes(12)
		info.defaults.duration = f.uint32()
		info.defaults.size = f.uint32()
		info.defaults.flags = f.uint32()
		if f.err != nil {
			return InitInfo{}, fmt.Errorf("trex: %w", f.err)
		}
	}
	trak, err := firstBox(list, "trak")
	if err != nil {
		return InitInfo{}, err
	}
	return info, errors.Join(info.readClock(trak), info.readEdit(trak), info.readEntry(trak))
}

const maxTimescale = 1 << 30

func (i *InitInfo) readClock(trak []byte) error {
	mdhd, err := find(trak, "mdia", "mdhd")
	if err != nil {
		return err
	}
	f := fields{data: mdhd}
	version, _ := f.full()
	f.wide(version)
	f.wide(version)
	i.timescale = int64(f.uint32())
	if f.err == nil && (i.timescale < 1 || i.timescale > maxTimescale) {
		f.err = fmt.Errorf("%d ticks per second; want 1 to %d", i.timescale, maxTimescale)
	}
	return f.err
}

// readEdit reads where the presentation starts. Decode times start before it if frames
// are shown in another order than they are decoded.
func (i *InitInfo) readEdit(trak []byte) error {
	elst, err := find(trak, "edts", "elst")
	if errors.Is(err, errNoBox) {
		return nil
	}
	if err != nil {
		return err
	}
	f := fields{data: elst}
	version, _ := f.full()
	if n := f.uint32(); f.err == nil && n != 1 {
		return fmt.Errorf("%d edits; want one", n)
	}
	f.wide(version)
	start := int64(f.wide(version))
	if version == 0 {
		start = int64(int32(start))
	}
	if f.err == nil && (start < 0 || start > maxMediaTime) {
		return fmt.Errorf("the presentation begins at %d; want it within the media", start)
	}
	i.editStart = start
	return f.err
}

// maxMediaTime keeps sums and products of times inside 64 bits.
const maxMediaTime = 1 << 45

// Sizes of the fields of a sample entry before its boxes.
const (
	visualEntryBytes = 78
	audioEntryBytes  = 28
)

func (i *InitInfo) readEntry(trak []byte) error {
	stsd, err := find(trak, "mdia", "minf", "stbl", "stsd")
	if err != nil {
		return err
	}
	entry, err := soleEntry(stsd)
	if err != nil {
		return err
	}
	return i.readCodec(entry)
}

func (i *InitInfo) readCodec(entry box) (err error) {
	f := fields{data: entry.body}
	if slices.Contains([]string{"mp4a", "ac-3", "ec-3", "Opus", "enca"}, entry.kind) {
		i.Audio = true
		f.bytes(audioEntryBytes - 4)
		i.SampleRate = int(f.uint32() >> 16)
	} else {
		f.bytes(visualEntryBytes)
	}
	if f.err != nil {
		return f.err
	}
	if entry.kind == "encv" || entry.kind == "enca" {
		if entry.kind, i.Protection, err = readProtection(f.data); err != nil {
			return err
		}
	}
	switch entry.kind {
	case "avc1":
		i.Codecs, err = codecOf(f.data, "avcC", avcName)
	case "hvc1":
		i.Codecs, err = codecOf(f.data, "hvcC", hevcName)
	case "av01":
		i.Codecs, err = codecOf(f.data, "av1C", av1Name)
	case "vp09":
		i.Codecs, err = codecOf(f.data, "vpcC", vp9Name)
	case "mp4a", "mp4v":
		i.Codecs, err = codecOf(f.data, "esds", func(b []byte) (string, error) { return mpeg4Name(entry.kind, b) })
	case "ac-3", "ec-3", "Opus":
		i.Codecs = entry.kind
	default:
		err = fmt.Errorf("sample entry %q; want avc1, hvc1, av01, vp09, mp4v, mp4a, ac-3, ec-3 or Opus", entry.kind)
	}
	return err
}

func codecOf(data []byte, kind string, name func([]byte) (string, error)) (string, error) {
	body, err := find(data, kind)
	if err != nil {
		return "", err
	}
	text, err := name(body)
	if err != nil {
		return "", fmt.Errorf("%s: %w", kind, err)
	}
	return text, nil
}

// InspectCMAF reads a segment that belongs to an initialization section to its
// end. It counts frames, it does not decode them.
func InspectCMAF(init InitInfo, r io.Reader) (SegmentInfo, error) {
	s := fragments{init: init, info: SegmentInfo{Codecs: init.Codecs, SampleRate: init.SampleRate}}
	if err := eachBox(r, "moof", maxMoofBytes, s.addFragment); err != nil {
		return SegmentInfo{}, fmt.Errorf("reading CMAF: %w", err)
	}
	if s.info.Frames == 0 {
		return SegmentInfo{}, errors.New("reading CMAF: no frames in it; want a movie fragment")
	}
	if init.Audio {
		s.info.Key = true
	}
	return s.info, nil
}

// fragments gathers a SegmentInfo from movie fragments.
type fragments struct {
	init InitInfo
	info SegmentInfo
	// begin and end are the decode times at which the first fragment began and the last ended.
	begin, end int64
}

func (s *fragments) addFragment(moof []byte) error {
	list, err := boxes(moof)
	if err != nil {
		return err
	}
	trafs := 0
	for _, b := range list {
		if b.kind != "traf" {
			continue
		}
		if trafs++; trafs > 1 {
			return errors.New("two tracks; want one")
		}
		if err := s.addTrack(b.body); err != nil {
			return err
		}
	}
	return nil
}

func (s *fragments) addTrack(traf []byte) error {
	list, err := boxes(traf)
	if err != nil {
		return err
	}
	defaults, err := s.header(list)
	if err != nil {
		return err
	}
	tfdt, err := firstBox(list, "tfdt")
	if err != nil {
		return err
	}
	f := fields{data: tfdt}
	version, _ := f.full()
	at := int64(f.wide(version))
	if f.err != nil || at < 0 || at > maxMediaTime {
		return fmt.Errorf("decode time %d (%v); want 0 to %d", at, f.err, int64(maxMediaTime))
	}
	if s.info.Frames > 0 && at != s.end {
		return fmt.Errorf("a fragment begins at %d, the one before it ends at %d; want no gap", at, s.end)
	}
	if s.info.Frames == 0 {
		s.begin = at
	}
	for _, b := range list {
		if b.kind != "trun" {
			continue
		}
		if at, err = s.run(b.body, at, defaults); err != nil {
			return err
		}
	}
	s.end = at
	return nil
}

// header reads the defaults of a track fragment header.
func (s *fragments) header(list []box) (sampleDefaults, error) {
	defaults := s.init.defaults
	tfhd, err := firstBox(list, "tfhd")
	if err != nil {
		return defaults, err
	}
	f := fields{data: tfhd}
	_, flags := f.full()
	f.bytes(4)
	if flags&0x1 != 0 {
		f.bytes(8)
	}
	if flags&0x2 != 0 {
		f.bytes(4)
	}
	if flags&0x8 != 0 {
		defaults.duration = f.uint32()
	}
	if flags&0x10 != 0 {
		f.bytes(4)
	}
	if flags&0x20 != 0 {
		defaults.flags = f.uint32()
	}
	return defaults, f.err
}

// Flags of a track run, ISO 14496-12 §8.8.8.
const (
	runDataOffset = 0x1
	runFirstFlags = 0x4
	runDuration   = 0x100
	runSize       = 0x200
	runFlags      = 0x400
	runOffset     = 0x800
)

// run counts the samples of a track run, the first of which is decoded at this time,
// and returns when the last ends.
func (s *fragments) run(trun []byte, at int64, defaults sampleDefaults) (end int64, err error) {
	f := fields{data: trun}
	_, flags := f.full()
	count := int(min(f.uint32(), maxMoofSamples+1))
	if flags&runDataOffset != 0 {
		f.bytes(4)
	}
	first := defaults.flags
	if flags&runFirstFlags != 0 {
		first = f.uint32()
	}
	if f.err != nil || s.info.Frames+count > maxMoofSamples {
		return 0, fmt.Errorf("%d samples (%v); want %d at most", count, f.err, maxMoofSamples)
	}
	for i := range count {
		sample := defaults
		if flags&runDuration != 0 {
			sample.duration = f.uint32()
		}
		if flags&runSize != 0 {
			f.bytes(4)
		}
		if flags&runFlags != 0 {
			sample.flags = f.uint32()
		} else if i == 0 {
			sample.flags = first
		}
		offset := int64(0)
		if flags&runOffset != 0 {
			offset = int64(int32(f.uint32()))
		}
		if f.err != nil {
			return 0, fmt.Errorf("sample %d: %w", i, f.err)
		}
		s.count(at+offset, sample.flags&sampleIsNotSync == 0)
		at += int64(sample.duration)
	}
	return at, nil
}

// count adds one sample that is shown at this media time.
func (s *fragments) count(at int64, key bool) {
	pts := rescale(at-s.init.editStart, s.init.timescale)
	if s.info.Frames == 0 {
		s.info.FirstPTS, s.info.LastPTS, s.info.Key = pts, pts, key
	}
	s.info.FirstPTS = min(s.info.FirstPTS, pts)
	s.info.LastPTS = max(s.info.LastPTS, pts)
	s.info.Frames++
}

// rescale turns ticks of this many per second into ticks of 90 kHz.
func rescale(ticks, timescale int64) int64 {
	whole, rest := ticks/timescale, ticks%timescale
	return whole*TicksPerSecond + (rest*TicksPerSecond+timescale/2)/timescale
}
