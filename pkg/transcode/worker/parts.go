package worker

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// A change is where a transport stream announces another codec of a stream, or another
// stream of its video: what came before ends at end, and what follows begins at bytes.
type change struct {
	end, bytes int64
	possible   bool // the codec is the same, but maybe not the range of brightness
}

const (
	// lookPlaces is in how many places of a long source its program maps are read, and
	// lookBytes how much of it there: a map comes several times a second.
	lookPlaces = 256
	lookBytes  = 256 << 10
	// lookAll is the size up to which all of a source is looked through.
	lookAll = 16 << 20
	// maxChanges bounds how often a video changes.
	maxChanges = 31
)

// A mapReader reads the program maps of a source.
type mapReader struct {
	open func(from int64) (io.ReadCloser, error)
	pid  uint16 // of the film
	size int64
	sets bool // parameter sets are compared, too
}

// film returns the stream of the film by a map: the one with its number, or else the other
// video that there is; 0 if it is a map of another program.
func (m mapReader) film(of mediafile.ProgramMap) uint16 {
	if _, ok := of.Types[m.pid]; ok {
		return m.pid
	}
	for _, pid := range slices.Sorted(maps.Keys(of.Types)) {
		if of.Complete && mediafile.IsVideoType(of.Types[pid]) {
			return pid
		}
	}
	return 0
}

// changed reports whether a map has another film than the one before, or another codec for
// one of its streams, or other parameters of the film, where its colors are.
func (m mapReader) changed(before, now mediafile.ProgramMap) bool {
	return m.streamsChanged(before, now) || m.setsChanged(before, now)
}

func (m mapReader) setsChanged(before, now mediafile.ProgramMap) bool {
	was, is := before.Sets[m.film(before)], now.Sets[m.film(now)]
	return m.sets && was != "" && is != "" && was != is
}

func (m mapReader) streamsChanged(before, now mediafile.ProgramMap) bool {
	if m.film(before) != m.film(now) {
		return true
	}
	for pid, streamType := range now.Types {
		if was, ok := before.Types[pid]; ok && was != streamType {
			return true
		}
	}
	return false
}

// next returns the first map of the film from a byte on that is not like the one before.
// Only if all is set, it reads on after one that is.
func (m mapReader) next(from, until int64, before mediafile.ProgramMap, all bool) (mediafile.ProgramMap, error) {
	r, err := m.open(from)
	if err != nil {
		return mediafile.ProgramMap{}, fmt.Errorf("reading program maps: %w", err)
	}
	defer r.Close()
	var found mediafile.ProgramMap
	err = mediafile.ReadProgramMaps(io.LimitReader(r, until-from), from, func(of mediafile.ProgramMap) bool {
		if m.film(of) == 0 {
			return true
		}
		if before.Types == nil || m.changed(before, of) {
			found = of
			return false
		}
		if all && before.Sets == nil {
			before.Sets = of.Sets
		}
		return all
	})
	return found, err
}

// changes returns where the film becomes another one. Of a long source, it looks in places
// only, and finds no other codec that is used for less than the time between two of them.
func (m mapReader) changes() ([]change, error) {
	now, err := m.next(0, min(m.size, lookAll), mediafile.ProgramMap{}, false)
	if err != nil || now.Types == nil {
		return nil, err
	}
	step, read, all := m.size, m.size, m.size <= lookAll
	if !all {
		step, read = m.size/lookPlaces, lookBytes
	}
	var list []change
	for at := int64(0); at < m.size && len(list) < maxChanges; {
		found, err := m.next(at, min(at+read, m.size), now, all)
		if err != nil {
			return nil, err
		}
		if found.Types == nil {
			at += step
			continue
		}
		if at > 0 && !all { // it was announced since the place before
			if found, err = m.first(at-step, found.At, now); err != nil {
				return nil, err
			}
		}
		list = append(list, change{end: found.At, bytes: found.Bytes, possible: !m.streamsChanged(now, found)})
		now, at = found, found.At+1
	}
	return list, nil
}

// setBytes is how much of a key frame is searched for its parameter set.
const setBytes = 16 << 10

// setChanges returns where a long source may have become another one of the same codec: where a
// key frame has another parameter set than the one before. Of a very long one, not all of its
// key frames are in the list.
func (m mapReader) setChanges(keys []entry, readAt func(p []byte, at int64) (int, error)) ([]change, error) {
	var list []change
	set, before := "", int64(0)
	buf := make([]byte, setBytes)
	for _, key := range keys {
		n, err := readAt(buf, key.keyBytes)
		if err != nil {
			return nil, err
		}
		next := mediafile.ParameterSet(buf[:n], m.pid)
		if next == "" {
			continue
		}
		if set != "" && next != set && len(list) < maxChanges {
			found, err := m.setChange(before, key.keyBytes, set)
			if err != nil {
				return nil, err
			}
			if found.Types != nil {
				list = append(list, change{end: found.At, bytes: found.Bytes, possible: true})
			}
		}
		set, before = next, key.keyBytes
	}
	return list, nil
}

// setChange returns the map before the first key frame between two whose parameter set is not
// this one.
func (m mapReader) setChange(from, until int64, set string) (mediafile.ProgramMap, error) {
	m.sets = true
	from, until = max(from-lookBytes, 0), min(until+lookBytes, m.size)
	first, err := m.next(from, until, mediafile.ProgramMap{}, false)
	if err != nil || first.Types == nil {
		return first, err
	}
	first.Sets = map[uint16]string{m.film(first): set}
	return m.next(first.At, until, first, true)
}

// first returns the first map after from that says something else than before does, as the
// one at until is known to do.
func (m mapReader) first(from, until int64, before mediafile.ProgramMap) (mediafile.ProgramMap, error) {
	for until-from > 4*lookBytes {
		middle := from + (until-from)/2
		found, err := m.next(middle, middle+lookBytes, before, false)
		if err != nil {
			return found, err
		}
		if found.Types == nil {
			from = middle
		} else {
			until = found.At
		}
	}
	return m.next(max(from-lookBytes, 0), min(until+lookBytes, m.size), before, true)
}

// changes returns where the video of a source goes on in another codec, or another stream,
// or between HDR and SDR, as transport streams say, and where another file of Matroska follows.
func (w *Worker) changes(ctx context.Context, source string, r *report) ([]change, error) {
	film := r.film()
	if film != nil && r.format.FormatName == "matroska,webm" && quarterTurns(film) == 0 {
		return w.headers(ctx, source, r)
	}
	if film == nil || r.format.FormatName != "mpegts" {
		return nil, nil
	}
	pid, err := strconv.ParseUint(film.ID, 0, 13)
	if err != nil {
		return nil, nil
	}
	m := mapReader{pid: uint16(pid), size: int64(number(r.format.Size)), open: func(from int64) (io.ReadCloser, error) {
		return w.openSource(ctx, source, from)
	}}
	m.sets = m.size <= lookAll
	list, err := m.changes()
	if err != nil || film.CodecName != "hevc" || m.sets {
		return list, err
	}
	from := w.bytesOf(source, m.size)
	sets, err := m.setChanges(r.packets[film.Index].entries, func(p []byte, at int64) (int, error) { return from.readAt(ctx, p, at) })
	if err != nil {
		return nil, err
	}
	list = append(list, sets...)
	slices.SortStableFunc(list, func(a, b change) int { return cmp.Compare(a.end, b.end) })
	list = slices.CompactFunc(list, func(a, b change) bool { return a.end == b.end })
	return list[:min(len(list), maxChanges)], nil
}

// headers returns where files of Matroska begin that were appended to the first: ffmpeg would
// decode them by its headers.
func (w *Worker) headers(ctx context.Context, source string, r *report) ([]change, error) {
	from := w.bytesOf(source, int64(number(r.format.Size)))
	var list []change
	for _, c := range r.clocks {
		if c.bytes <= 0 || len(list) == maxChanges {
			continue
		}
		begin, found, err := findMatroska(ctx, from, max(c.after, 0), c.bytes)
		if err != nil {
			return nil, err
		}
		if found && (len(list) == 0 || begin > list[len(list)-1].bytes) {
			list = append(list, change{end: begin, bytes: begin})
		}
	}
	return list, nil
}

// confirmed returns changes without those that are possible only, and where the range of
// brightness stays what it was.
func (w *Worker) confirmed(ctx context.Context, source string, changes []change, film *stream, p *pulse) ([]change, error) {
	if !slices.ContainsFunc(changes, func(c change) bool { return c.possible }) {
		return changes, nil
	}
	var kept []change
	for _, c := range changes {
		own := newReport(p)
		if stderr, err := w.examine(ctx, partOf(source, c.bytes, 0), own, p, "-read_intervals", "%+#1"); err != nil && !refused(err, stderr) {
			return nil, err
		}
		next := own.partFilm(film)
		if next != nil && c.possible && next.color().VideoRange() == film.color().VideoRange() {
			continue
		}
		if next != nil {
			film = next
		} else if c.possible {
			continue
		}
		kept = append(kept, c)
	}
	return kept, nil
}

// openSource opens a source at a byte of it.
func (w *Worker) openSource(ctx context.Context, source string, from int64) (io.ReadCloser, error) {
	if isURL(source) {
		response, err := w.remote.get(ctx, w.remote.reader.now.Load().name, fmt.Sprintf("bytes=%d-", from))
		if err != nil {
			return nil, err
		}
		return response.Body, nil
	}
	f, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// subfile begins a source that is a part of another one.
const subfile = "subfile,,"

// partOf returns the part of a source from a byte on, up to end; 0: to its end.
func partOf(source string, from, end int64) string {
	if !isURL(source) {
		source = "file:" + source
	}
	return fmt.Sprintf("%sstart,%d,end,%d,,:%s", subfile, from, end, source)
}

// A sourcePart is a part of a source that is read by itself.
type sourcePart struct {
	begin, end int64 // bytes; end is 0 at the end of the source
	source     string
	report     *report // of its streams
	film       *stream
	entry      entry // its first key frame
}

// divide returns the report of a source by its parts, if its video changes midway.
func (w *Worker) divide(ctx context.Context, source string, r *report, p *pulse) (*report, error) {
	changes, err := w.changes(ctx, source, r)
	if err == nil {
		changes, err = w.confirmed(ctx, source, changes, r.film(), p)
	}
	if err != nil || len(changes) == 0 {
		return r, err
	}
	divided, err := w.examineParts(ctx, source, changes, r, p)
	if err != nil || len(divided.parts) < 2 {
		return r, err
	}
	return divided, nil
}

// examineParts reads all packets of a source whose video changes, as if each part
// continued the streams of the first one.
func (w *Worker) examineParts(ctx context.Context, source string, changes []change, whole *report, p *pulse) (*report, error) {
	parts := []sourcePart{{}}
	for _, c := range changes {
		parts[len(parts)-1].end = c.end
		parts = append(parts, sourcePart{begin: c.bytes})
	}
	all := &report{packets: map[int]*track{}, progress: whole.progress}
	for _, part := range parts {
		part.source = partOf(source, part.begin, part.end)
		var err error
		var stderr []string
		part.report = newReport(p)
		if stderr, err = w.examine(ctx, part.source, part.report, p, "-read_intervals", "%+#1"); refused(err, stderr) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if part.film = part.report.partFilm(whole.film()); part.film == nil || part.film.PixFmt == "" {
			continue
		}
		if len(all.parts) > 0 && !whole.isMPEG() {
			all.beginFile(part.begin)
		}
		if err := w.readPart(ctx, all, part, p); err != nil {
			return nil, err
		}
	}
	all.format = whole.format
	all.finish()
	return all, nil
}

// beginFile has the next packets count from a clock of their own, which begins at this byte.
func (r *report) beginFile(begin int64) {
	r.clocks = append(r.clocks, clock{after: begin, bytes: begin + 1})
	for _, t := range r.packets {
		t.clock, t.timed, t.held = len(r.clocks)-1, false, false
	}
}

// partFilm returns the video of a part that continues film: the one with its ID or, where there
// are no IDs, in its place, or else the first.
func (r *report) partFilm(film *stream) *stream {
	list := r.ofKind("video")
	for _, s := range list {
		if film.ID != "" && s.ID == film.ID || film.ID == "" && s.Index == film.Index {
			return s
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// readPart adds the packets of the last part to all.
func (w *Worker) readPart(ctx context.Context, all *report, part sourcePart, p *pulse) error {
	all.become, all.offset, all.trail, all.ended = nil, part.begin, nil, false
	if len(all.parts) > 0 {
		first := all.parts[0]
		all.become = map[int]int{part.film.Index: first.film.Index}
		for _, kind := range []string{"audio", "subtitle"} {
			for i, s := range first.report.ofKind(kind) {
				if other := part.report.continues(s, i, kind); other != nil {
					all.become[other.Index] = s.Index
				}
			}
		}
		all.packets[first.film.Index].entered = nil
	}
	if _, err := w.examine(ctx, part.source, all, p); err != nil {
		return err
	}
	film := part.film.Index
	if len(all.parts) > 0 {
		film = all.parts[0].film.Index
	}
	if t := all.packets[film]; t != nil && t.entered != nil {
		part.entry = *t.entered
		all.parts = append(all.parts, part)
	}
	return nil
}

// continues returns the stream of a kind that continues s, which is the i-th of its kind in
// another part: the one with its ID, or else in its place. Subtitles there are of its language.
func (r *report) continues(s *stream, i int, kind string) *stream {
	list := r.ofKind(kind)
	if j := slices.IndexFunc(list, func(other *stream) bool { return s.ID != "" && other.ID == s.ID }); j >= 0 {
		return list[j]
	}
	sameText := func(other *stream) bool {
		return s.ID == "" && slices.Contains(imageSubtitles, other.CodecName) == slices.Contains(imageSubtitles, s.CodecName) &&
			other.Tags.get("language") == s.Tags.get("language")
	}
	if i < len(list) && (kind == "audio" || sameText(list[i])) {
		return list[i]
	}
	return nil
}

// sourceParts returns what each part is, and where its first frame is shown.
func (r *report) sourceParts(a axis) []transcode.SourcePart {
	if len(r.parts) < 2 {
		return nil
	}
	var list []transcode.SourcePart
	for _, part := range r.parts {
		p := transcode.SourcePart{
			Bytes: part.begin, End: part.end, Span: a.ofTime[part.entry.of], Seconds: a.at(part.entry.of, part.entry.key), Video: part.film.picture(),
		}
		p.Audio, p.Subtitles = r.places(part, "audio"), r.places(part, "subtitle")
		list = append(list, p)
	}
	return list
}

// places returns which streams of a kind continue those of the first part: their places among
// those of the kind in this part; -1: none does.
func (r *report) places(part sourcePart, kind string) []int {
	var list []int
	for i, s := range r.parts[0].report.ofKind(kind) {
		place := -1
		if other := part.report.continues(s, i, kind); other != nil {
			place = slices.Index(part.report.ofKind(kind), other)
		}
		list = append(list, place)
	}
	return list
}

// peekParts looks at the first frames of each part for fields, of which headers need not
// say anything.
func (w *Worker) peekParts(ctx context.Context, r *report, p *transcode.Probe, pulse *pulse) error {
	for i, part := range r.parts {
		v := &p.Parts[i].Video
		if !v.Interlaced && part.film.FieldOrder != "progressive" && slices.Contains(mayBeInterlaced, v.Codec) {
			frames, err := w.firstFrames(ctx, part.source, part.film, pulse)
			if err != nil {
				return err
			}
			v.Interlaced = slices.ContainsFunc(frames, shownFrame.interlaced)
		}
		if v.Interlaced {
			v.Fields = transcode.FieldsFlagged
			p.Video.Interlaced, p.Video.Fields = true, transcode.FieldsFlagged
		}
	}
	return nil
}

// partsArgs returns the inputs that are the parts of a source.
func partsArgs(parts []transcode.UnitPart, source string, at position) []string {
	var args []string
	for _, part := range parts {
		args = append(args, position{raw: true, sized: at.sized, canvas: at.canvas}.args()...)
		args = append(args, sourceArgs(partOf(source, part.Bytes, part.End))...)
	}
	return args
}

// inputMap returns ffmpeg's specifier of a stream of the i-th part.
func inputMap(i int, of string) string { return strconv.Itoa(i) + strings.TrimPrefix(of, "0") }

// videoSource returns the label of the pictures of u, and the filters that make them; "" if
// they are a stream of the source. Parts of a source are shown one after the other, as if
// they were of the size and the colors of the first.
func videoSource(u transcode.VideoUnit) (label, filters string) {
	if len(u.Parts) == 0 {
		return cmp.Or(u.Map, "0:V:0"), ""
	}
	var b strings.Builder
	labels := ""
	for i, part := range u.Parts {
		fmt.Fprintf(&b, "[%s]%s[part%d];", inputMap(i, part.Map), partFilter(u, part), i)
		labels += fmt.Sprintf("[part%d]", i)
	}
	fmt.Fprintf(&b, "%sinterleave=nb_inputs=%d[film];", labels, len(u.Parts))
	return "film", b.String()
}

// partFilter returns the filters that make the pictures of a part like those of u.
func partFilter(u transcode.VideoUnit, part transcode.UnitPart) string {
	own := u
	own.Deinterlaced, own.Fields, own.SourceWidth, own.SourceHeight, own.Aspect = part.Deinterlaced, part.Fields, part.Width, part.Height, part.Aspect
	filter := "setpts=" + timeline(part.Spans, 0, false) + fieldFilter(own) + "," + letterbox(u.SourceWidth, u.SourceHeight, u.Aspect) +
		fmt.Sprintf(",setsar=%.6f:max=10000", u.Aspect*float64(u.SourceHeight)/float64(u.SourceWidth))
	of := transcode.Color{}
	if u.Color != nil {
		of = *u.Color
	}
	filter += partColors(part.Color, of)
	known := func(name string) string { return cmp.Or(name, "unknown") }
	return filter + fmt.Sprintf(",format=%s,setparams=range=%s:color_primaries=%s:color_trc=%s:colorspace=%s",
		part.Format, known(of.Range), known(of.Primaries), known(of.Transfer), known(of.Matrix))
}

// partColors returns the filters that bring the colors of a part to others.
func partColors(c *transcode.Color, of transcode.Color) (filter string) {
	own := transcode.Color{}
	if c != nil {
		own = *c
	}
	if own.VideoRange() != "" && own.VideoRange() != of.VideoRange() {
		filter, own = ","+toneMap(&own), transcode.Color{Matrix: "bt709"}
	}
	if own.VideoRange() == "" && of.VideoRange() != "" {
		return filter + "," + brighten(own, of)
	}
	if matrix := scaleMatrix(of.Matrix); matrix != "" && own.Matrix != "" && own.Matrix != of.Matrix {
		filter += ",scale=out_color_matrix=" + matrix
	}
	return filter
}

// scaleMatrix returns what ffmpeg's filter scale calls a matrix; "" if it has none.
func scaleMatrix(name string) string {
	return map[string]string{"bt709": "bt709", "smpte170m": "smpte170m", "bt470bg": "bt470", "fcc": "fcc", "smpte240m": "smpte240m", "bt2020nc": "bt2020"}[name]
}

// audioSource returns what AudioArgs reads: the inputs, the stream and the filters that put
// its samples on the clock of the video, and print them if wanted. Parts of a source follow
// on each other: the sound of each begins and ends with its pictures.
func audioSource(u transcode.AudioUnit, source string, print bool) (inputs []string, stream, filters string) {
	then := func(part int) string {
		if print {
			return "," + printSound(part)
		}
		return ""
	}
	if len(u.Parts) == 0 {
		inputs = append(position{raw: len(u.Spans) > 0}.args(), sourceArgs(source)...)
		filters = "asetpts=" + timeline(u.Spans, u.SourceStart, false)
		if u.CutSeconds > 0 {
			filters += ",atrim=start=0"
		}
		return inputs, fmt.Sprintf("0:a:%d", u.Rendition.Stream), filters + then(0)
	}
	labels, begin := "", 0.0
	for i, part := range u.Parts {
		end, rest := u.Rendition.Seconds, ""
		if i+1 < len(u.Parts) {
			end = max(u.Parts[i+1].Seconds, begin)
			rest = fmt.Sprintf(",apad,atrim=end=%f", end-begin)
		}
		// What ffmpeg decodes last of a part can have any time.
		filters += fmt.Sprintf("[%[1]s]asetpts=%[2]s,atrim=start=%[3]f:end=%[4]f%[5]s,asetpts=PTS-%[3]f/TB,aresample=%[6]d:async=1:first_pts=0,"+
			"aformat=sample_fmts=fltp:channel_layouts=%[7]s%[8]s[part%[9]d];",
			inputMap(i, part.Map), timeline(part.Spans, 0, false), begin, end, then(i), u.Rendition.Rate(), layoutOf(u.Rendition.Channels), rest, i)
		labels += fmt.Sprintf("[part%d]", i)
		begin = end
	}
	return partsArgs(u.Parts, source, position{}), "", fmt.Sprintf("%s%sconcat=n=%d:v=0:a=1", filters, labels, len(u.Parts))
}

// layoutOf returns ffmpeg's name of a layout of this many channels.
func layoutOf(channels int) string {
	names := []string{"mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1"}
	return names[min(max(channels, 1), len(names))-1]
}
