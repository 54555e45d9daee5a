package transcode

import (
	"slices"
	"testing"
)

func TestCutBegin(t *testing.T) {
	for _, tt := range []struct{ cuts, want []int }{
		{[]int{0, 1}, []int{0, 1}},
		{[]int{0, 2}, []int{0, 1, 2}},
		{[]int{0, 15, 30, 40}, []int{0, 1, 3, 7, 15, 30, 40}},
		{[]int{0, 5, 10, 15, 18}, []int{0, 1, 3, 5, 10, 15, 18}},
		{[]int{0, 60, 120}, []int{0, 1, 3, 7, 15, 31, 60, 120}},
	} {
		if got := cutBegin(tt.cuts, 1); !slices.Equal(got, tt.want) {
			t.Errorf("cutBegin(%v) = %v; want %v", tt.cuts, got, tt.want)
		}
	}
	if got, want := cutBegin([]int{0, 20, 25}, 3), []int{0, 3, 9, 20, 25}; !slices.Equal(got, want) {
		t.Errorf("units of three segments at least begin at %v; want %v", got, want)
	}
	if got, want := cutBegin([]int{0, 5}, 3), []int{0, 5}; !slices.Equal(got, want) {
		t.Errorf("units of three segments at least begin at %v; want %v", got, want)
	}
}
