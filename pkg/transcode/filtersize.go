package transcode

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxFilteredSide is the longest side that filters may give a picture. A frame of
// twice that fills the memory of a board.
const maxFilteredSide = maxSide

// filteredSize returns the size that a checked chain of filters gives to a picture
// of this size. Its error names the filter whose picture is too large, or whose
// size cannot be told.
func filteredSize(graph string, width, height float64) (float64, float64, error) {
	filters, err := splitFilters(graph)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range filters {
		name, args, _ := strings.Cut(f, "=")
		switch name {
		case "scale", "zscale", "pad", "rotate", "crop":
			width, height, err = resized(name, unquoted(args), width, height)
		case "transpose":
			width, height = height, width
		}
		if err != nil {
			return 0, 0, fmt.Errorf("filter %s: %w", name, err)
		}
		if !(width <= maxFilteredSide && height <= maxFilteredSide) {
			return 0, 0, fmt.Errorf("filter %s makes pictures of %.0fx%.0f; want %d at most on each side", name, width, height, maxFilteredSide)
		}
	}
	return width, height, nil
}

// resized returns the size of one filter's output. A side that is 0 or missing is
// the input's, and one that is negative follows from the other (ffmpeg's scale).
func resized(name, args string, width, height float64) (float64, float64, error) {
	spec, _ := videoKind().lookup(name)
	in := map[string]float64{"iw": width, "in_w": width, "ih": height, "in_h": height, "a": width / height, "dar": width / height, "sar": 1, "PI": math.Pi}
	out := map[string]float64{}
	for _, side := range []string{"w", "h"} {
		text := spec.option(args, side)
		if name == "rotate" {
			text = spec.option(args, "o"+side)
		}
		if text == "" {
			continue
		}
		vars := map[string]float64{"ow": out["w"], "out_w": out["w"], "oh": out["h"], "out_h": out["h"], "hsub": 2, "vsub": 2}
		for k, v := range in {
			vars[k] = v
		}
		n, err := evaluate(text, vars)
		if err != nil {
			return 0, 0, fmt.Errorf("size %.50q: %w", text, err)
		}
		out[side] = n
	}
	w, h := out["w"], out["h"]
	if spec.option(args, "size") != "" {
		return 0, 0, errors.New("a size in one word; want w and h")
	}
	switch {
	case w < 0 && h > 0:
		w = h * width / height
	case h < 0 && w > 0:
		h = w * height / width
	}
	if w <= 0 {
		w = width
	}
	if h <= 0 {
		h = height
	}
	return w, h, nil
}

// option returns the value of an option, by its name, an alias or its position.
// The last one counts.
func (s filterSpec) option(args, name string) (value string) {
	for i, arg := range strings.Split(args, ":") {
		key := ""
		text := arg
		if m := namedOption.FindStringSubmatch(arg); m != nil {
			key, text = m[1], m[2]
		} else if i < len(s.options) {
			key = s.options[i][0]
		}
		for _, names := range s.options {
			if slices.Contains(names, key) && slices.Contains(names, name) {
				value = text
			}
		}
	}
	return value
}

// An expression is a text that is evaluated as ffmpeg evaluates it (av_expr_eval),
// without loops and stored values.
type expression struct {
	text  string
	vars  map[string]float64
	depth int
}

const (
	maxExpression = 500 // bytes
	maxDepth      = 20
)

// evaluate returns the value of an arithmetic expression over these variables.
func evaluate(text string, vars map[string]float64) (float64, error) {
	if len(text) > maxExpression {
		return 0, fmt.Errorf("%d bytes; want %d at most", len(text), maxExpression)
	}
	e := &expression{text: strings.ReplaceAll(text, " ", ""), vars: vars}
	n, err := e.sum()
	switch {
	case err != nil:
		return 0, err
	case e.text != "":
		return 0, fmt.Errorf("%.20q is not understood", e.text)
	case math.IsNaN(n) || math.IsInf(n, 0):
		return 0, errors.New("it has no value")
	}
	return n, nil
}

// next removes a symbol from the text, if it is the next one.
func (e *expression) next(symbol string) bool {
	rest, ok := strings.CutPrefix(e.text, symbol)
	e.text = rest
	return ok
}

func (e *expression) sum() (float64, error) {
	n, err := e.product()
	for err == nil {
		var m float64
		switch {
		case e.next("+"):
			m, err = e.product()
			n += m
		case e.next("-"):
			m, err = e.product()
			n -= m
		default:
			return n, nil
		}
	}
	return 0, err
}

func (e *expression) product() (float64, error) {
	n, err := e.factor()
	for err == nil {
		var m float64
		switch {
		case e.next("*"):
			m, err = e.factor()
			n *= m
		case e.next("/"):
			m, err = e.factor()
			n /= m
		default:
			return n, nil
		}
	}
	return 0, err
}

var (
	literal    = regexp.MustCompile(`^[0-9]+(\.[0-9]*)?`)
	identifier = regexp.MustCompile(`^[A-Za-z_]+`)
)

func (e *expression) factor() (float64, error) {
	if e.depth++; e.depth > maxDepth*10 {
		return 0, errors.New("it is too long")
	}
	switch {
	case e.next("-"):
		n, err := e.factor()
		return -n, err
	case e.next("+"):
		return e.factor()
	case e.next("("):
		n, err := e.sum()
		if err == nil && !e.next(")") {
			err = errors.New("a parenthesis is not closed")
		}
		return n, err
	}
	if word := literal.FindString(e.text); word != "" {
		e.text = e.text[len(word):]
		return strconv.ParseFloat(word, 64)
	}
	word := identifier.FindString(e.text)
	e.text = e.text[len(word):]
	if word != "" && e.next("(") {
		return e.call(word)
	}
	n, known := e.vars[word]
	if !known {
		return 0, fmt.Errorf("%.20q is not known; want numbers, iw, ih, a, min, max, if and rounding", word+e.text)
	}
	return n, nil
}

// call evaluates a function whose name and opening parenthesis have been read.
func (e *expression) call(name string) (float64, error) {
	var args []float64
	for {
		n, err := e.sum()
		if err != nil {
			return 0, err
		}
		args = append(args, n)
		if e.next(")") {
			break
		}
		if !e.next(",") {
			return 0, fmt.Errorf("%s( is not closed", name)
		}
	}
	return apply(name, args)
}

func apply(name string, args []float64) (float64, error) {
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	switch {
	case len(args) == 1:
		round := map[string]func(float64) float64{"trunc": math.Trunc, "ceil": math.Ceil, "floor": math.Floor, "round": math.Round, "abs": math.Abs, "sqrt": math.Sqrt}
		if f, ok := round[name]; ok {
			return f(args[0]), nil
		}
		if name == "not" {
			return truth(args[0] == 0), nil
		}
	case len(args) == 2:
		switch name {
		case "min":
			return min(args[0], args[1]), nil
		case "max":
			return max(args[0], args[1]), nil
		case "gt":
			return truth(args[0] > args[1]), nil
		case "gte":
			return truth(args[0] >= args[1]), nil
		case "lt":
			return truth(args[0] < args[1]), nil
		case "lte":
			return truth(args[0] <= args[1]), nil
		case "eq":
			return truth(args[0] == args[1]), nil
		case "mod":
			return math.Mod(args[0], args[1]), nil
		case "hypot":
			return math.Hypot(args[0], args[1]), nil
		}
	case len(args) == 3 && (name == "if" && args[0] != 0 || name == "ifnot" && args[0] == 0):
		return args[1], nil
	case len(args) == 3 && (name == "if" || name == "ifnot"):
		return args[2], nil
	case len(args) == 3 && name == "clip":
		return min(max(args[0], args[1]), args[2]), nil
	}
	return 0, fmt.Errorf("function %s of %d values is not known", name, len(args))
}
