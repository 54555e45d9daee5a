package worker

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// A clock is what the time stamps of a source count from. Files that were appended
// to one another have one each, and a transport stream gets another when its time
// stamps wrap.
type clock struct {
	first   float64 // the time stamp at which it was found, in seconds
	forward float64 // how far the time stamps went forward; 0 if they went back
	wrapped bool    // it resumes at the wrap of the time stamps before
	after   int64   // bytes before the packet before; -1 if unknown
	bytes   int64   // before the packet at which it was found; -1 if unknown
}

const (
	// jumpSeconds is how far time stamps of a transport stream go forward if another
	// file follows. ffmpeg takes less for a pause.
	jumpSeconds = 10
	// backSeconds is how far decoding times may go back within a file.
	backSeconds = 0.1
	// wrapSeconds is when the time stamps of MPEG wrap: after 33 bits.
	wrapSeconds = float64(1<<33) / 90000
	// maxClocks bounds what is kept of a source whose time stamps are garbage.
	maxClocks = 200
	// maxEntries is the maximum number of key frames that are kept of a stream.
	maxEntries = 4096
	// entrySeconds is the minimum time between two that are kept.
	entrySeconds = 1
	// trailPackets is how many packets before a key frame reading begins, so that the
	// tables of a transport stream are among them: about half a second.
	trailPackets = 32
)

// A stretch is the part of a track that counts from one clock.
type stretch struct {
	clock       int
	first, end  float64 // time stamps
	lastSeconds float64 // duration of the packet that ends last; 0 if unknown
}

// An entry is a packet at which reading can begin, and the key frame after it.
type entry struct {
	clock int     // of the packet
	stamp float64 // time stamp of the packet
	bytes int64
	key   float64 // time stamp of the key frame
	of    int     // clock of the key frame

	keyBytes int64 // where the key frame is
}

// place finds out which clock a packet counts from and adds it to its track. A
// packet whose time is far from that of the one before is held back: the next one
// shows whether another clock begins or only this time stamp is damaged.
func (r *report) place(t *track, p packet) {
	if len(r.clocks) == 0 {
		r.clocks = []clock{{}}
	}
	if !p.timed() || p.discarded {
		r.keep(t, p)
		return
	}
	at := p.dts
	held := t.held
	t.held = false
	switch {
	case !t.timed:
		t.clock = len(r.clocks) - 1
	case r.isBehind(t, at):
		if t.clock = len(r.clocks) - 1; held && follows(t.pending.dts, at) {
			r.keep(t, t.pending)
		}
	case follows(t.decoded, at):
	case held && follows(t.pending.dts, at):
		r.jump(t, t.pending)
		t.decoded = at
		r.keep(t, t.pending)
	case r.jumps(t, at):
		t.pending, t.held = p, true
		return
	}
	t.decoded, t.timed = at, true
	r.keep(t, p)
}

// keep adds a packet to its track, and to the trail. If it is a key frame, reading
// can begin at the oldest packet of the trail.
func (r *report) keep(t *track, p packet) {
	shown, ok := t.add(p)
	if ok {
		t.bytes = p.pos
	}
	if !ok || p.pos < 0 {
		return
	}
	if shown.key && len(t.keyFrames) < maxKeyFrames {
		t.keyFrames = append(t.keyFrames, keyFrame{bytes: p.pos, size: p.size})
	}
	this := entry{clock: t.clock, stamp: shown.at, bytes: p.pos, key: shown.at, of: t.clock, keyBytes: p.pos}
	if !p.timed() {
		t.enter(shown, this) // there are no tables, and nothing else, before it
		return
	}
	this.stamp = p.dts
	if len(r.trail) > 0 && r.trail[0].bytes < p.pos { // packets of streams overlap
		before := r.trail[0]
		before.key, before.of, before.keyBytes = shown.at, t.clock, p.pos
		t.enter(shown, before)
	} else {
		t.enter(shown, this)
	}
	r.trail = append(r.trail, this)
	if len(r.trail) > trailPackets {
		r.trail = r.trail[1:]
	}
}

// follows reports whether a packet with this decoding time can follow in the same
// file.
func follows(before, at float64) bool { return at >= before-backSeconds && at <= before+jumpSeconds }

// jumps reports whether a packet of t that does not follow has another clock. It has
// not if another track is about there: then only t has a pause.
func (r *report) jumps(t *track, at float64) bool {
	if at < t.decoded-backSeconds {
		return true
	}
	for _, other := range r.packets {
		if other != t && other.timed && other.clock == t.clock && math.Abs(at-other.decoded) < jumpSeconds {
			return false
		}
	}
	return true
}

// isBehind reports whether a packet of t, of which there are few, belongs to the newest
// clock although it could follow on the packet before: it is nearer to the others of that
// clock.
func (r *report) isBehind(t *track, at float64) bool {
	newest := len(r.clocks) - 1
	if t.clock == newest {
		return false
	}
	near := func(other *track) bool {
		return other != t && other.timed && other.clock == newest && math.Abs(at-other.decoded) < min(math.Abs(at-t.decoded), 1)
	}
	for _, other := range r.packets {
		if near(other) {
			return true
		}
	}
	return false
}

// jump moves t to the clock that begins at about p.
func (r *report) jump(t *track, p packet) {
	at, newest := p.dts, len(r.clocks)-1
	if t.clock < newest && math.Abs(at-r.clocks[newest].first) < math.Abs(at-t.decoded) {
		t.clock = newest
		return
	}
	if len(r.clocks) >= maxClocks {
		return
	}
	c := clock{first: at, forward: max(at-t.decoded, 0), after: t.bytes, bytes: p.pos}
	c.wrapped = math.Abs(at+wrapSeconds-t.decoded) < jumpSeconds
	r.clocks = append(r.clocks, c)
	t.clock = len(r.clocks) - 1
}

// at returns the time stamp of a packet, in seconds: when it is shown or, where the
// container does not say that, when it is decoded.
func (t *track) at(p packet) float64 {
	switch {
	case !math.IsNaN(p.pts):
		return p.pts
	case p.timed():
		t.unstamped++
		return p.dts // AVI has no PTS
	}
	t.unstamped++
	if t.timed {
		return t.decoded // of a part that is not in this stream's codec
	}
	at := t.untimed
	t.untimed += p.duration
	return at
}

// extend adds a packet to the stretch of t's clock.
func (t *track) extend(m moment, seconds float64) {
	if n := len(t.stretches); n == 0 || t.stretches[n-1].clock != t.clock {
		t.flush()
		t.any = false
		t.stretches = append(t.stretches, stretch{clock: t.clock, first: m.at, end: m.at})
	}
	s := &t.stretches[len(t.stretches)-1]
	s.first = min(s.first, m.at)
	if m.at+seconds > s.end || s.end == s.first {
		s.end, s.lastSeconds = m.at+seconds, seconds
	}
}

// enter keeps where reading for a key frame can begin. Where there are too many,
// every second is dropped.
func (t *track) enter(m moment, e entry) {
	if !m.key {
		return
	}
	if t.entered == nil {
		t.entered = &e
	} else if n := len(t.entries); n > 0 && t.entries[n-1].of == e.of && math.Abs(m.at-t.entries[n-1].key) < max(t.entryEvery, entrySeconds) {
		return
	}
	t.entries = append(t.entries, e)
	if len(t.entries) > maxEntries {
		for i := range maxEntries / 2 {
			t.entries[i] = t.entries[2*i]
		}
		t.entries = t.entries[:maxEntries/2]
		t.entryEvery = 2 * max(t.entryEvery, entrySeconds)
	}
}

// flush shows the frames that wait for others.
func (t *track) flush() {
	for _, m := range t.waiting {
		t.show(m)
	}
	t.waiting = nil
}

// finish ends the report. In containers other than MPEG's, time stamps that go
// forward are a pause, however long.
func (r *report) finish() {
	r.dropRepeated()
	r.mergePauses()
	for _, t := range r.packets {
		t.flush()
		t.first, t.end = math.Inf(1), math.Inf(-1)
		for _, s := range t.stretches {
			t.first = min(t.first, s.first)
			if s.end > t.end {
				t.end, t.lastSeconds = s.end, s.lastSeconds
			}
		}
	}
}

// isMPEG reports whether the container is one whose time stamps can jump.
func (r *report) isMPEG() bool {
	return r.format.FormatName == "mpegts" || r.format.FormatName == "mpeg"
}

// isMP4 reports whether the container is of ISO 14496-12.
func (r *report) isMP4() bool { return strings.HasPrefix(r.format.FormatName, "mov,mp4") }

// dropRepeated removes what ffmpeg shows of fragments of MP4 that were appended to others: it
// reads the first ones again.
func (r *report) dropRepeated() {
	again := slices.IndexFunc(r.clocks, func(c clock) bool { return c.bytes >= 0 && c.bytes < c.after })
	if !r.isMP4() || again < 0 {
		return
	}
	r.clocks = r.clocks[:again]
	for _, t := range r.packets {
		t.flush()
		t.stretches = slices.DeleteFunc(t.stretches, func(s stretch) bool { return s.clock >= again })
		t.pauses = slices.DeleteFunc(t.pauses, func(p trackPause) bool { return p.clock >= again })
		t.entries = slices.DeleteFunc(t.entries, func(e entry) bool { return max(e.clock, e.of) >= again })
	}
}

func (r *report) mergePauses() {
	if r.isMPEG() {
		return
	}
	become, kept := make([]int, len(r.clocks)), r.clocks[:0:0]
	for i, c := range r.clocks {
		if c.forward == 0 || i == 0 {
			kept = append(kept, c)
		}
		become[i] = len(kept) - 1
	}
	if len(kept) == len(r.clocks) {
		return
	}
	for _, t := range r.packets {
		t.mergeStretches(become)
	}
	r.clocks = kept
}

// mergeStretches joins the stretches whose clocks become one.
func (t *track) mergeStretches(become []int) {
	t.flush()
	for i := range t.pauses {
		t.pauses[i].clock = become[t.pauses[i].clock]
	}
	merged := t.stretches[:0:0]
	for _, s := range t.stretches {
		s.clock = become[s.clock]
		n := len(merged)
		if n == 0 || merged[n-1].clock != s.clock {
			merged = append(merged, s)
			continue
		}
		before := &merged[n-1]
		pause := s.first - before.end + before.lastSeconds
		t.maxGap, t.maxGOP = max(t.maxGap, pause), t.maxGOP+pause
		if pause > pauseSeconds {
			t.pause(s.clock, before.end-before.lastSeconds, s.first)
		}
		before.end, before.lastSeconds = s.end, s.lastSeconds
	}
	for i, e := range t.entries {
		t.entries[i].clock, t.entries[i].of = become[e.clock], become[e.of]
	}
	t.stretches = merged
}

// A trackPause is a stretch of a track without packets.
type trackPause struct {
	clock    int
	from, to float64 // time stamps
}

const (
	// pauseSeconds is the shortest pause that is kept.
	pauseSeconds = 1
	// maxPauses is how many are kept.
	maxPauses = 300
)

func (t *track) pause(clock int, from, to float64) {
	if len(t.pauses) < maxPauses {
		t.pauses = append(t.pauses, trackPause{clock, from, to})
	}
}

// pauses returns the pauses of t as seconds of the grid.
func (a axis) pauses(t *track) []transcode.Held {
	var list []transcode.Held
	if begin := a.begin(t); begin > pauseSeconds {
		list = append(list, transcode.Held{To: min(begin, mostSeconds)})
	}
	for _, p := range t.pauses[:min(len(t.pauses), maxPauses-1)] {
		from, to := max(a.at(p.clock, p.from), 0), min(a.at(p.clock, p.to), mostSeconds)
		if _, shown := a.ofTime[p.clock]; to > from && (shown || len(a.spans) == 0) {
			list = append(list, transcode.Held{From: from, To: to})
		}
	}
	if n := len(t.stretches); n > 0 && t.stretches[n-1].lastSeconds > pauseSeconds { // of the last frame
		last := t.stretches[n-1]
		list = append(list, transcode.Held{From: max(a.at(last.clock, last.end-last.lastSeconds), 0), To: min(a.at(last.clock, last.end), mostSeconds)})
	}
	slices.SortFunc(list, func(a, b transcode.Held) int { return cmp.Compare(a.From, b.From) })
	return list
}

// An axis says when what has a time stamp is shown.
type axis struct {
	start  float64          // where there are no spans
	spans  []transcode.Span // of several clocks, or of a source without time stamps
	ofTime map[int]int      // the number of a clock's span
}

// at returns when a time stamp of a clock is shown, in seconds after the grid's start.
func (a axis) at(clock int, stamp float64) float64 {
	if len(a.spans) == 0 {
		return stamp - a.start
	}
	span := a.spans[a.ofTime[clock]]
	return span.At + stamp - span.First
}

// end returns when the last frame of t ends.
func (a axis) end(t *track) float64 {
	end := 0.0
	for _, s := range t.stretches {
		end = max(end, a.at(s.clock, s.end))
	}
	return end
}

// begin returns when the first frame of t is shown.
func (a axis) begin(t *track) float64 {
	begin := math.Inf(1)
	for _, s := range t.stretches {
		begin = min(begin, a.at(s.clock, s.first))
	}
	return begin
}

// axis returns how the clocks of the source follow on each other: each where the
// film ended before. With one clock, the grid starts at start.
func (r *report) axis(film *track, start float64, untimed bool) axis {
	a := axis{start: start, ofTime: map[int]int{}}
	// ffmpeg would take time stamps that will wrap soon for negative ones, and some
	// that begin at 0 for others.
	misread := start > wrapSeconds-100 || start == 0 && r.isMPEG()
	if len(r.clocks) < 2 && !misread && !untimed && len(r.parts) < 2 {
		return a
	}
	end := 0.0
	for i := range r.clocks {
		s := r.stretchOf(film, i)
		if s == nil {
			continue
		}
		span := transcode.Span{First: s.first, At: end}
		switch {
		case len(a.spans) == 0:
			span.At = s.first - start
		case r.clocks[i].wrapped:
			before := a.spans[len(a.spans)-1]
			span.At = before.At + s.first + wrapSeconds - before.First
		}
		a.ofTime[i] = len(a.spans)
		a.spans = append(a.spans, span)
		end = span.At + s.end - s.first
		if s.lastSeconds == 0 && film.gaps.total > 0 {
			end += 1 / film.gaps.nominal()
		}
	}
	return a
}

// entries returns where reading of the film can begin, if its time stamps do not say
// that. reordered says that it has no time stamps, and B-frames; within, that ffmpeg can
// begin to read at any packet.
func (a axis) entries(film *track, reordered, within bool) []transcode.Entry {
	if len(a.spans) == 0 || reordered || !within {
		return nil // which frame is shown first after a key frame is not known
	}
	var list []transcode.Entry
	for _, e := range film.entries {
		span, ok := a.ofTime[e.clock]
		if _, shown := a.ofTime[e.of]; ok && shown {
			list = append(list, transcode.Entry{Seconds: a.at(e.of, e.key), Bytes: e.bytes, Span: span, Stamp: e.stamp})
		}
	}
	return list
}

// start returns the earliest time stamp of the source's first clock: of video and
// audio, if the container does not say it.
func (r *report) start() float64 {
	if r.format.StartTime != "" && len(r.clocks) < 2 {
		return number(r.format.StartTime)
	}
	start := math.Inf(1)
	for _, s := range r.streams {
		t := r.packets[s.Index]
		if t == nil || s.CodecType != "video" && s.CodecType != "audio" {
			continue
		}
		if first := r.stretchOf(t, 0); first != nil {
			start = min(start, first.first)
		}
	}
	if math.IsInf(start, 1) {
		return 0
	}
	return start
}

// stretchOf returns the stretch of a track that counts from a clock; nil if there is
// none.
func (r *report) stretchOf(t *track, clock int) *stretch {
	i := slices.IndexFunc(t.stretches, func(s stretch) bool { return s.clock == clock })
	if i < 0 {
		return nil
	}
	return &t.stretches[i]
}

// unwrapped returns the spans as ffmpeg shows them that reads from the first one on. In
// spite of -copyts, it takes a jump for a wrap that would lead a tenth as far if it were
// one, and lets what follows count on.
func unwrapped(spans []transcode.Span) []transcode.Span {
	var list []transcode.Span
	offset := 0.0
	for i, s := range spans {
		if i > 0 {
			before := spans[i-1]
			next := before.First + s.At - before.At
			if math.Abs(s.First+wrapSeconds-next) < math.Abs(s.First-next)/10 {
				offset += next - s.First
				continue
			}
		}
		s.First += offset
		list = append(list, s)
	}
	return list
}

// timeline returns the expression that puts the time stamps of frames on the grid's
// clock. The next span begins with the frame that does not follow on the one before
// and is nearer to the beginning of that span.
func timeline(spans []transcode.Span, start float64, untimed bool) string {
	if len(spans) == 0 {
		return fmt.Sprintf("PTS-(%s)/TB", seconds(start))
	}
	if spans = unwrapped(spans); !untimed {
		for i := range spans {
			spans[i].First += rawOffset
		}
	}
	if len(spans) == 1 {
		return fmt.Sprintf("PTS-(%s)/TB", seconds(spans[0].First-spans[0].At))
	}
	next, offset := "0", "0"
	for i, s := range spans {
		offset += fmt.Sprintf("+eq(ld(0),%d)*(%s)", i, seconds(s.First-s.At))
		if i+1 < len(spans) {
			next += fmt.Sprintf("+eq(ld(0),%d)*(%s)", i, seconds(spans[i+1].First))
		}
	}
	const (
		before  = "st(1,if(isnan(PREV_INPTS),%s,PREV_INPTS*TB))"
		follows = "st(2,between(PTS*TB,ld(1)-%g,ld(1)+%d))"
		nearer  = "lt(abs(PTS*TB-(%s)),abs(PTS*TB-ld(1)))"
	)
	return fmt.Sprintf("'"+before+";"+follows+";st(0,ld(0)+lt(ld(0),%d)*not(ld(2))*"+nearer+");PTS-(%s)/TB'",
		seconds(spans[0].First), backSeconds, jumpSeconds, len(spans)-1, next, offset)
}
