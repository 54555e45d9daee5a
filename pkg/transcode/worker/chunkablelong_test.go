//go:build media

package worker

// The long form: units of the usual length, and every way to ask for a rate.
const (
	chunkableSeconds = 100
	chunkableUnit    = 2 // segments of 4 s
	chunkableSource  = "-f lavfi -i testsrc2=s=320x180:r=25:d=100 -vf noise=alls=4:allf=t -c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p"
)

var chunkableRows = []string{
	"-c:v libx264 -preset veryfast -crf 26",
	"-c:v libx264 -preset veryfast -b:v 500k",
	"-c:v libx264 -preset veryfast -b:v 500k -maxrate 550k -bufsize 1000k",
	"-c:v libx264 -preset veryfast -qp 30 -bf 0",
	"-c:v libx265 -preset veryfast -crf 30",
	"-c:v libx265 -preset veryfast -b:v 500k",
	"-c:v mpeg4 -q:v 6",
	"-c:v mpeg4 -q:v 6 -bf 2",
	"-c:v mpeg2video -q:v 6",
	"-c:v mpeg2video -q:v 6 -bf 2",
	"-c:v libsvtav1 -preset 10 -crf 40",
	"-c:v libsvtav1 -preset 10 -crf 25",
	"-c:v libaom-av1 -cpu-used 8 -crf 40",
	"-c:v libvpx-vp9 -crf 34 -b:v 0 -deadline realtime -cpu-used 6",
	"-c:v libvpx-vp9 -crf 34 -cpu-used 5",
}

// The long form of two passes: both encoders, and bitrates at which all parts look bad, or
// the easy ones are as good as they can be.
const (
	twoPassSize    = "320x180"
	twoPassSeconds = 100
	twoPassUnit    = 4 // segments of 2 s
)

var twoPassRows = []struct {
	codec string
	bps   int
}{{"h264", 250_000}, {"h264", 600_000}, {"h264", 2_000_000}, {"h265", 250_000}, {"h265", 600_000}}
