package registry

import (
	"slices"
	"strings"
	"testing"
)

func TestMergeConfig(t *testing.T) {
	for _, test := range []struct{ lines, changes, want string }{
		{"", "a=1", "a=1"},
		{"a=1 b=2", "a=3", "b=2 a=3"},
		{"a=1 b=2", "a=", "b=2"},
		{"a=1 b=2", "c=", "a=1 b=2"},
		{"dtoverlay=x dtoverlay=y b=2", "dtoverlay=z", "b=2 dtoverlay=z"},
		{"b=2", "dtoverlay=x dtoverlay=y,speed=1", "b=2 dtoverlay=x dtoverlay=y,speed=1"},
		{"dtoverlay=x", "dtoverlay= dtoverlay=y", "dtoverlay=y"},
		{"a=1", "nonsense", "a=1 nonsense"}, // refused when it is stored
		{"a=1", "", "a=1"},
	} {
		lines := strings.Fields(test.lines)
		before := slices.Clone(lines)
		got := MergeConfig(lines, strings.Fields(test.changes))
		if strings.Join(got, " ") != test.want {
			t.Errorf("MergeConfig(%q, %q) = %q; want %q", test.lines, test.changes, got, test.want)
		}
		if !slices.Equal(lines, before) {
			t.Errorf("MergeConfig changed %q into %q", before, lines)
		}
	}
}

func TestConfigLinesThatStand(t *testing.T) {
	for _, line := range []string{"decode_MPG2=0x12345678", "hdmi_mode:1=82", "dtoverlay=gpio-fan,gpiopin=12,temp=6000", "gpio=2=op,dh", "hdmi_timings=1024 0 1"} {
		if err := CheckConfigLine(line); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
	}
}

// Every accepted line remains one setting of its own key.
func FuzzConfigLine(f *testing.F) {
	for _, line := range []string{"a=1", "a=1\nb=2", "[all]", "gpu_mem=1", "a=\r", "A=\x00", "a= "} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if CheckConfigLine(line) != nil {
			return
		}
		if len(line) > maxConfigLine || strings.ContainsAny(line, "\r\n\x00") || strings.TrimSpace(line) != line || configKey(line) == "" || line[0] == '[' || line[0] == '#' {
			t.Errorf("line %q was taken", line)
		}
	})
}
