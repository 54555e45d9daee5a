package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/config"
	"pibootd/pkg/pi"
)

// Settings are what can be set for each board.
type Settings struct {
	MuxID    int      `json:"mux_id,omitzero"`    // muxid= on its kernel command line; 0: absent
	HWDecode bool     `json:"hw_decode,omitzero"` // muxhwdec=1 on its kernel command line
	Volatile bool     `json:"volatile,omitzero"`  // changes of its root stay in its memory
	GPUMem   int      `json:"gpu_mem,omitzero"`   // MB; 0 means the configuration's value
	Args     []string `json:"args,omitempty"`     // further kernel arguments, k or k=v
	Config   []string `json:"config,omitempty"`   // further lines of its config.txt, key=value; see MergeConfig
	BootMenu string   `json:"boot_menu,omitzero"` // form of DHCP option 43: one of BootMenus
	Labels   []string `json:"labels,omitempty"`   // the user's names for groups of boards
	Durable  string   `json:"durable,omitzero"`   // Strict, the meaning of "", or Relaxed: see nfs.Export
	Weight   float64  `json:"weight,omitzero"`    // share of its time in which it transcodes; 0 means 1, the whole time
}

// BootMenus are the forms in which DHCP can announce to a board that this is its
// boot server: the one that all known boards accept, the one that dnsmasq sends,
// and the words "Raspberry Pi Boot" alone.
var BootMenus = []string{"", "dnsmasq", "raw"}

// Values of Settings.Durable: whether a change of names or attributes in the root is on the disk
// before the board gets its answer, or within a second.
const (
	Strict  = "strict"
	Relaxed = "relaxed"
)

// Limits of a board's settings.
const (
	maxMuxID  = 65535
	minGPUMem = 16
	maxGPUMem = 512
	minWeight = 0.01
	// 32-bit kernels accept 1024 bytes of command line and silently cut off the
	// rest. Half of that is left for pibootd's own arguments.
	maxArgsBytes = 512
)

// A Setting is one field of a Settings: its names for programs and people, and a
// pointer to its value. Exactly one of the pointers is not nil.
type Setting struct {
	Field string // its name in JSON, and in errors
	Flag  string // of add-pi and edit-pi
	Name  string // its name in texts about a change
	Usage string // help text of Flag
	Unset string // help text for a board without it; "": none
	Clear string // flag of edit-pi that empties a list; "": none
	// Live says when the worker of a running board applies it; "": at the next
	// boot.
	Live string

	Int   *int
	Bool  *bool
	Word  *string
	Share *float64 // 0 means 1
	Words *[]string

	check func() error
	merge func(old, asked []string) []string // of Words; nil: a request replaces the old value
}

// Table lists all fields of s. Flags, the API, comparisons and texts are derived
// from it.
func (s *Settings) Table() []Setting {
	return []Setting{
		{Field: "mux_id", Flag: "muxid", Name: "muxid", Int: &s.MuxID, check: s.checkMuxID,
			Usage: "pass the muxer `ID` to the kernel as muxid=", Unset: "none"},
		{Field: "hw_decode", Flag: "muxhwdec", Name: "muxhwdec", Bool: &s.HWDecode,
			Usage: "decode video in hardware where the board can (kernel argument muxhwdec=1)"},
		{Field: "volatile", Flag: "volatile", Name: "volatile", Bool: &s.Volatile,
			Usage: "make the root read-only and keep the board's changes in its memory until it is switched off"},
		{Field: "gpu_mem", Flag: "gpu-mem", Name: "gpu-mem", Int: &s.GPUMem, check: s.checkGPUMem,
			Usage: "reserve `MB` of memory for the graphics processor", Unset: "boot.gpu_mem"},
		{Field: "args", Flag: "arg", Name: "kernel arguments", Words: &s.Args, check: s.checkArgs, Clear: "no-args",
			Usage: "add the kernel `ARGUMENT`, key or key=value"},
		{Field: "config", Flag: "config", Name: "config.txt lines", Words: &s.Config, check: s.checkConfig, merge: MergeConfig,
			Usage: "add the `LINE` to config.txt, key=value; edit-pi removes a key with key="},
		{Field: "labels", Flag: "label", Name: "labels", Words: &s.Labels, check: s.checkLabels, Clear: "no-labels",
			Usage: "give the board the `LABEL`, by which upgrade-pi and transcode select boards",
			Live:  "its worker applies the labels to the next unit that it requests"},
		{Field: "weight", Flag: "weight", Name: "weight", Share: &s.Weight, check: s.checkWeight,
			Usage: "transcode for `SHARE` of the time, 0.01 to 1, and rest between units", Unset: "1",
			Live: "its worker applies the weight within half a minute"},
		{Field: "durable", Flag: "durable", Name: "durable", Word: &s.Durable, check: s.checkDurable,
			Usage: "strict, the default, or relaxed: answer before the disk has what the board does to names and attributes in its root. " +
				"A power cut then loses `HOW` it was up to a second before, and programs on the board do not notice",
			Live: "it applies to what the board does from now on"},
		{Field: "boot_menu", Flag: "boot-menu", Name: "boot-menu", Word: &s.BootMenu, check: s.checkBootMenu,
			Usage: "send DHCP option 43 in this `FORM`, dnsmasq or raw, to a board that rejects the usual one"},
	}
}

// MarshalJSON implements json.Marshaler. It encodes only the value.
func (t Setting) MarshalJSON() ([]byte, error) { return json.Marshal(t.value()) }

// UnmarshalJSON implements json.Unmarshaler. It decodes into the value.
func (t Setting) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, t.value()) }

func (t Setting) value() any {
	switch {
	case t.Int != nil:
		return t.Int
	case t.Bool != nil:
		return t.Bool
	case t.Word != nil:
		return t.Word
	case t.Share != nil:
		return t.Share
	}
	return t.Words
}

// String formats the value. Equivalent values have the same text.
func (t Setting) String() string {
	switch {
	case t.Int != nil:
		return strconv.Itoa(*t.Int)
	case t.Bool != nil:
		return strconv.FormatBool(*t.Bool)
	case t.Word != nil:
		return strconv.Quote(*t.Word)
	case t.Share != nil:
		return fmt.Sprint(cmp.Or(*t.Share, 1))
	}
	return fmt.Sprintf("%q", *t.Words)
}

// Describe says in a few words how a board is set, or "" if it is not.
func (t Setting) Describe() string {
	switch {
	case t.Int != nil && *t.Int != 0:
		return fmt.Sprintf("%s %d", t.Name, *t.Int)
	case t.Bool != nil && *t.Bool:
		return t.Name
	case t.Word != nil && *t.Word != "":
		return t.Name + " " + *t.Word
	case t.Share != nil && cmp.Or(*t.Share, 1) != 1:
		return fmt.Sprintf("%s %v", t.Name, *t.Share)
	case t.Words != nil && len(*t.Words) > 0:
		return t.Name + " " + strings.Join(*t.Words, " ")
	}
	return ""
}

// Set changes the value to that of asked, which is the same setting of another
// board or of a request.
func (t Setting) Set(asked Setting) {
	switch {
	case t.Int != nil:
		*t.Int = *asked.Int
	case t.Bool != nil:
		*t.Bool = *asked.Bool
	case t.Word != nil:
		*t.Word = *asked.Word
	case t.Share != nil:
		*t.Share = *asked.Share
	case t.merge != nil:
		*t.Words = t.merge(*t.Words, *asked.Words)
	default:
		*t.Words = slices.Clone(*asked.Words)
	}
}

// Share returns the share of its time in which a board transcodes.
func (s Settings) Share() float64 { return cmp.Or(s.Weight, 1) }

// clone returns a copy that shares no lists.
func (s Settings) clone() Settings {
	for _, t := range s.Table() {
		if t.Words != nil {
			*t.Words = slices.Clone(*t.Words)
		}
	}
	return s
}

func (s Settings) check() error {
	var problems []error
	for _, t := range s.Table() {
		if t.check != nil {
			problems = append(problems, pi.InvalidField(t.Field, t.check()))
		}
	}
	return errors.Join(problems...)
}

func (s *Settings) checkMuxID() error {
	if s.MuxID < 0 || s.MuxID > maxMuxID {
		return fmt.Errorf("muxer id %d; want 1 to %d, or 0 for none", s.MuxID, maxMuxID)
	}
	return nil
}

func (s *Settings) checkGPUMem() error {
	if s.GPUMem != 0 && (s.GPUMem < minGPUMem || s.GPUMem > maxGPUMem) {
		return fmt.Errorf("gpu_mem %d MB; want %d to %d, or 0 for the configuration's", s.GPUMem, minGPUMem, maxGPUMem)
	}
	return nil
}

func (s *Settings) checkWeight() error {
	if s.Weight != 0 && !(s.Weight >= minWeight && s.Weight <= 1) {
		return fmt.Errorf("weight %v; want %v to 1, the share of its time that it transcodes in", s.Weight, minWeight)
	}
	return nil
}

func (s *Settings) checkBootMenu() error {
	if !slices.Contains(BootMenus, s.BootMenu) {
		return fmt.Errorf("boot menu %q; want one of %q", s.BootMenu, BootMenus)
	}
	return nil
}

func (s *Settings) checkDurable() error {
	if s.Durable != "" && s.Durable != Strict && s.Durable != Relaxed {
		return fmt.Errorf("durable %q; want %s or %s", s.Durable, Strict, Relaxed)
	}
	return nil
}

func (s *Settings) checkLabels() error { return pi.CheckLabels(s.Labels) }

func (s *Settings) checkArgs() error {
	var problems []error
	for _, arg := range s.Args {
		problems = append(problems, config.CheckArg(arg))
	}
	if n := len(strings.Join(s.Args, " ")); n > maxArgsBytes {
		problems = append(problems, fmt.Errorf("kernel arguments of %d bytes; want at most %d together", n, maxArgsBytes))
	}
	return errors.Join(problems...)
}

func (s *Settings) checkConfig() error {
	var problems []error
	for _, line := range s.Config {
		problems = append(problems, CheckConfigLine(line))
	}
	if len(s.Config) > maxConfigLines {
		problems = append(problems, fmt.Errorf("%d lines for config.txt; want at most %d", len(s.Config), maxConfigLines))
	}
	return errors.Join(problems...)
}
