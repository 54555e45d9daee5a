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
}
