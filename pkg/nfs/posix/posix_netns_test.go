//go:build netns

package posix

import (
	"bytes"
	"os"
	"testing"
)

// The cases note the same twice on one file system: nothing in them is chance.
func TestCasesAreRepeatable(t *testing.T) {
	cases := Cases(Short())
	var notes [2]bytes.Buffer
	for i := range notes {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Prepare(dir, cases); err != nil {
			t.Fatal(err)
		}
		if err := Run(dir, cases, &notes[i]); err != nil {
			t.Fatal(err)
		}
	}
	differences, met := Compare(notes[0].String(), notes[1].String())
	for _, d := range differences {
		t.Error(d)
	}
	if len(met) > 0 || notes[0].Len() == 0 {
		t.Errorf("%d bytes of notes, known differences by %v; want none on one file system", notes[0].Len(), met)
	}
}
