package transcode

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// addClock adds an option that determines frames, samples or key frames in time.
func (o *Options) addClock(w optionWord) error {
	switch w.base {
	case "r":
		rate, err := ParseRate(w.value)
		if err != nil {
			return err
		}
		o.Rate = rate
	case "ar":
		rate, err := strconv.Atoi(w.value)
		if err != nil || !slices.Contains(audioRates, rate) {
			return fmt.Errorf("%.50q; want one of %v", w.value, audioRates)
		}
		o.AudioRate = rate
	case "g":
		o.Video = append(o.Video, "-g", w.value)
	case "force_key_frames":
		every := keyEvery.FindStringSubmatch(w.value)
		if every == nil {
			o.whole("-force_key_frames " + w.value + " is about the whole video")
			o.Video = append(o.Video, "-force_key_frames", w.value)
			break
		}
		seconds, err := strconv.ParseFloat(every[1], 64)
		if err != nil || seconds < 0.01 || seconds > maxSeconds {
			return fmt.Errorf("%.50q; want key frames 0.01 to %d seconds apart", w.value, maxSeconds)
		}
		o.KeySeconds = seconds
	}
	return nil
}

// ParseRate reads frames per second: 25, 23.976 or 30000/1001.
func ParseRate(text string) (Rational, error) {
	num, den, fraction := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(num, 64)
	d := 1.0
	if err == nil && fraction {
		d, err = strconv.ParseFloat(den, 64)
	}
	if err != nil || !(n > 0 && d > 0 && n/d >= 0.1 && n/d <= maxOutputRate) {
		return Rational{}, fmt.Errorf("rate %.50q; want 0.1 to %d frames per second, e.g. 25 or 30000/1001", text, maxOutputRate)
	}
	if fraction && n == float64(int(n)) && d == float64(int(d)) && n < 1e6 && d < 1e6 {
		return Rational{Num: int(n), Den: int(d)}, nil
	}
	for _, known := range usualRates {
		if off := known.Float() - n/d; off < 0.001 && off > -0.001 {
			return known, nil
		}
	}
	thousandths := int(n/d*1000 + 0.5)
	divisor := gcd(thousandths, 1000)
	return Rational{Num: thousandths / divisor, Den: 1000 / divisor}, nil
}

// setKeys turns the time between key frames into a number of frames.
func (o *Options) setKeys(g Grid) {
	if o.KeySeconds > 0 {
		frames := max(int(math.Round(o.KeySeconds*g.Rate.Float())), 1)
		o.Video = append(o.Video, "-g", strconv.Itoa(frames))
	}
}

// trim returns the probe of what o leaves of a source. In a plan, options of the output that
// cut off time are what they are before the input.
func (o Options) trim(p Probe) (Probe, error) {
	p, err := o.Window.apply(p)
	if err == nil && o.Shortest && p.Video != nil && p.Audio != nil && !o.NoAudio {
		p, err = Input{To: min(videoSeconds(p), audioSeconds(p, *p.Audio))}.apply(p)
	}
	return p, err
}
