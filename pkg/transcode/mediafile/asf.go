package mediafile

import (
	"bytes"
	"encoding/binary"
)

// asfProperties is the GUID of the File Properties Object (Advanced Systems Format §3.2).
const asfProperties = "\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"

// ASFHead is how much of the beginning of a file ASFSeconds needs.
const ASFHead = 64 << 10

// ASFSeconds returns how long a file of ASF, such as WMV, says in its header that it is; 0 if it
// does not. ffmpeg does not tell that of a file with another size than its header has.
func ASFSeconds(head []byte) float64 {
	const (
		durationAt, prerollAt, flagsAt, end = 64, 80, 88, 92 // from the GUID on
		broadcast                           = 1
		ticks                               = 1e7 // in a second
	)
	at := bytes.Index(head, []byte(asfProperties))
	if at < 0 || len(head)-at < end {
		return 0
	}
	properties := head[at:]
	if binary.LittleEndian.Uint32(properties[flagsAt:])&broadcast != 0 {
		return 0
	}
	preroll := float64(binary.LittleEndian.Uint64(properties[prerollAt:])) / 1000
	return max(float64(binary.LittleEndian.Uint64(properties[durationAt:]))/ticks-preroll, 0)
}
