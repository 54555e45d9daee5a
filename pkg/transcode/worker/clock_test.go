package worker

import (
	"math"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
)

// readStamps adds packets of one stream with these decoding times, 0.04 s long, to a report.
func readStamps(name string, stamps ...float64) (*report, *track) {
	r := &report{packets: map[int]*track{}, format: format{FormatName: name}}
	for i, at := range stamps {
		r.add(packet{pts: at, dts: at, duration: 0.04, pos: int64(i * 188), key: true})
	}
	r.finish()
	return r, r.packets[0]
}

// Time stamps that jump begin another clock, in the containers in which they can; a
// single damaged one does not, nor does a pause.
func TestClocks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		format string
		stamps []float64
		clocks int
		end    float64 // of the last frame, on the grid
	}{
		"steady":           {"mpegts", []float64{5, 5.04, 5.08}, 1, 0.12},
		"forward":          {"mpegts", []float64{5, 5.04, 900, 900.04}, 2, 0.16},
		"backward":         {"mpegts", []float64{900, 900.04, 5, 5.04}, 2, 0.16},
		"a damaged stamp":  {"mpegts", []float64{5, 5.04, 7000, 5.12, 5.16}, 1, 0.20},
		"a short pause":    {"mpegts", []float64{5, 5.04, 12, 12.04}, 1, 7.08},
		"a pause of MP4":   {"mov,mp4,m4a,3gp,3g2,mj2", []float64{0, 0.04, 60, 60.04}, 1, 60.08},
		"a wrap":           {"mpegts", []float64{95443.68, 95443.70, 0.01, 0.05}, 2, wrapSeconds + 0.09 - 95443.68},
		"jump and return":  {"mpegts", []float64{5, 5.04, 900, 900.04, 5.08, 5.12}, 3, 0.24},
		"joined to itself": {"mpeg", []float64{1, 1.2, 1.4, 1, 1.2, 1.4}, 2, 0.88},
	}
	for name, tt := range tests {
		r, film := readStamps(tt.format, tt.stamps...)
		a := r.axis(film, tt.stamps[0], false)
		if got := a.end(film); len(r.clocks) != tt.clocks || math.Abs(got-tt.end) > 0.002 {
			t.Errorf("%s: %d clocks, the end at %.3f s; want %d, %.3f", name, len(r.clocks), got, tt.clocks, tt.end)
		}
	}
}

// The nominal rate is that of most frames, whatever pauses, losses and roundings lie
// between them.
func TestNominalRate(t *testing.T) {
	t.Parallel()
	every := func(n int, seconds ...float64) []float64 {
		var list []float64
		for i := range n {
			list = append(list, seconds[i%len(seconds)])
		}
		return list
	}
	tests := map[string]struct {
		gaps []float64
		want float64
	}{
		"steady":            {every(100, 0.04), 25},
		"milliseconds":      {every(99, 0.033, 0.033, 0.034), 30},
		"a pause":           {append(every(100, 1./30), 9), 30},
		"a tenth lost":      {every(100, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.08), 25},
		"half of sixty":     {every(100, 1./60, 1./30, 1./30), 60},
		"telecined":         {every(100, 2*field, 3*field), 24000. / 1001},
		"fields in a frame": {every(100, 2*field), 30000. / 1001},
		"slow":              {every(20, 1), 1},
		"none":              {nil, 0},
	}
	for name, tt := range tests {
		var g gaps
		for _, gap := range tt.gaps {
			g.add(gap)
		}
		if got := g.nominal(); math.Abs(got-tt.want) > tt.want/300 {
			t.Errorf("%s: %.3f frames per second; want %.3f", name, got, tt.want)
		}
	}
}

// What ffmpeg takes for a wrap is no span of its own, and moves those after it.
func TestUnwrapped(t *testing.T) {
	t.Parallel()
	wrapped := []transcode.Span{{First: 95442}, {First: 0.3, At: wrapSeconds + 0.3 - 95442}, {First: 100, At: 4}, {First: 50, At: 8}}
	got := unwrapped(wrapped)
	if len(got) != 3 || got[0] != wrapped[0] || math.Abs(got[1].First-wrapSeconds-100) > 0.001 || math.Abs(got[2].First-wrapSeconds-50) > 0.001 || got[2].At != 8 {
		t.Errorf("unwrapped = %v; want those after the wrap %.3f s later", got, wrapSeconds)
	}
	joined := []transcode.Span{{First: 5000}, {First: 0, At: 4}, {First: 95442, At: 8}}
	if got := unwrapped(joined); !slices.Equal(got, joined) {
		t.Errorf("unwrapped = %v; want %v", got, joined)
	}
}

// The first packet of a part is held back, and not lost if the sound shows first that time
// has jumped.
func TestFirstPacketAfterJump(t *testing.T) {
	r := &report{packets: map[int]*track{}, progress: func(int) {}, format: format{FormatName: "mpegts"}}
	send := func(stream int, at float64, key bool) {
		p := newPacket()
		p.stream, p.pts, p.dts, p.duration, p.key = stream, at, at, 0.04, key
		r.add(p)
	}
	for _, at := range []float64{0, 0.04} {
		send(0, at, at == 0)
		send(1, at, true)
	}
	send(0, 5000, true)
	send(1, 5000, true)
	send(1, 5000.04, true)
	send(0, 5000.04, false)
	r.finish()
	film := r.packets[0]
	if n := len(film.stretches); film.count != 4 || n != 2 || film.stretches[n-1].first != 5000 {
		t.Errorf("%d packets, stretches %+v; want 4, and the second from 5000 s on", film.count, film.stretches)
	}
}
