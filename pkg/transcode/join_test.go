package transcode

import (
	"slices"
	"testing"
)

// goodResults returns the results of all units of p.
func goodResults(p Plan) map[string]Result {
	results := make(map[string]Result)
	for _, u := range p.Units {
		size := int64(100_000)
		if u.Audio != nil {
			size = 50_000
		}
		results[u.ID] = goodResult(u, size)
	}
	return results
}

func TestJoinUnitsRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*Plan, map[string]Result)
		want  string
	}{
		{"missing unit", func(_ *Plan, r map[string]Result) { delete(r, "v-90p-0001") }, "joining units: no result of v-90p-0001"},
		{"bad unit", func(_ *Plan, r map[string]Result) { r["v-90p-0001"].Segments[0].Key = false }, "joining units: result of v-90p-0001: 00008.ts: it does not begin with a key frame"},
		{"two encoders", func(_ *Plan, r map[string]Result) {
			other := r["v-90p-0001"]
			other.Codecs = "avc1.640028"
			r["v-90p-0001"] = other
		}, "joining units: v-90p-0001 is avc1.640028, other units of the rendition are avc1.4d400d; want one encoder for a rendition"},
		{"forgotten unit", func(p *Plan, _ map[string]Result) { p.Units = p.Units[1:] }, "joining units: segment 0 of 180p is 00008.ts; want 00000.ts"},
		{"forgotten end", func(p *Plan, _ map[string]Result) { p.Units = slices.Delete(p.Units, 1, 2) }, "joining units: 768 frames of 180p; want 1558"},
		{"forgotten rendition", func(p *Plan, _ map[string]Result) { p.Units = p.Units[2:] }, "joining units: none of rendition 180p"},
		{"forgotten audio", func(p *Plan, _ map[string]Result) { p.Units = p.Units[:4] }, "joining units: no unit of audio"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPlan(t)
			results := goodResults(p)
			tt.spoil(&p, results)
			if _, err := JoinUnits(p, results); err == nil || err.Error() != tt.want {
				t.Errorf("JoinUnits = %v\n want %s", err, tt.want)
			}
		})
	}
}
