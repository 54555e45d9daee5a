//go:build !media

package worker

// The short form: small pictures, and encoders that are fast.
const (
	chunkableSeconds = 40
	chunkableUnit    = 1 // segments of 4 s
	chunkableSource  = "-f lavfi -i testsrc2=s=160x90:r=25:d=40 -vf noise=alls=4:allf=t -c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p"
)

var chunkableRows = []string{
	"-c:v libx264 -preset veryfast -crf 26",
	"-c:v mpeg4 -q:v 6",
	"-c:v mpeg2video -q:v 6",
	"-c:v libsvtav1 -preset 12 -crf 40",
}

// A film of twenty units, by x264.
const (
	twoPassSize    = "160x90"
	twoPassSeconds = 40
	twoPassUnit    = 2 // segments of 2 s
)

var twoPassRows = []struct {
	codec string
	bps   int
}{{"h264", 250_000}}
