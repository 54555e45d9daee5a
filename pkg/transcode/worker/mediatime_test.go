package worker

import (
	"os"
	"path/filepath"
	"testing"
)

// timeRows are sources whose time axis, rate, fields or colors are of the kinds that
// go wrong.
func timeRows() []mediaRow {
	return []mediaRow{
		{
			name: "plain", file: "plain.mp4",
			args: "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=3 " + x264 + "-c:a aac",
			want: mediaWant{frames: 75, rate: "25/1", size: "320x180", seconds: 3, tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "open GOP, late start", file: "open.ts", long: true,
			args: "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=3 " + openGOP + "-c:a aac",
			want: mediaWant{frames: 75, within: 1, rate: "25/1", size: "320x180", tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "no video", file: "a.mp4", long: true, args: sound + "-c:a aac",
			want: mediaWant{fails: "it has no video"},
		},
		{
			name: "two files joined", file: "join.ts",
			build: func(t *testing.T, dir, file string) {
				part := "-f lavfi -i testsrc2=s=320x180:r=25:d=2 " + x264 + "-muxdelay 0 -muxpreload 0 "
				joinFiles(t, dir, file, part, part+"-output_ts_offset 2 ")
			},
			want: mediaWant{frames: 100, rate: "25/1", size: "320x180", seconds: 4},
		},
	}
}

// joinFiles appends the files that ffmpeg makes by each args to one another, as cat
// does.
func joinFiles(t *testing.T, dir, file string, args ...string) {
	t.Helper()
	var all []byte
	for _, a := range args {
		data, err := os.ReadFile(makeSource(t, "part"+filepath.Ext(file), a))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	if err := os.WriteFile(filepath.Join(dir, file), all, 0o644); err != nil {
		t.Fatal(err)
	}
}
