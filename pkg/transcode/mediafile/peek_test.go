package mediafile

import (
	"bytes"
	"testing"
)

// What ffmpeg writes is read at its first time stamp.
func TestFirstPTS(t *testing.T) {
	ts := testFile(t, "video.ts")
	if pts, err := FirstTS(bytes.NewReader(ts)); err != nil || pts != 900000 {
		t.Errorf("FirstTS = %d, %v; want 900000", pts, err)
	}
	init, err := InspectInit(bytes.NewReader(testFile(t, "video-init.mp4")))
	if err != nil {
		t.Fatal(err)
	}
	if pts, err := FirstCMAF(init, bytes.NewReader(testFile(t, "video.m4s"))); err != nil || pts != 900000 {
		t.Errorf("FirstCMAF = %d, %v; want 900000", pts, err)
	}
}
