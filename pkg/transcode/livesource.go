package transcode

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Live sources that are not files of the media share are reached through the daemon: it
// connects to the one address that was allowed when the stream was added, and passes bytes
// on to the worker that receives the source.

// liveSchemes are those of sources, with their usual ports; 0: there is none.
var liveSchemes = map[string]int{"rtmp": 1935, "rtsp": 554, "http": 80, "https": 443, "srt": 0}

const maxLiveURL = 2000 // bytes

// IsLiveURL reports whether a live source is a URL, and not a path.
func IsLiveURL(source string) bool { return strings.Contains(source, "://") }

// ParseLiveURL reads the URL of a live source. Its errors are meant for the user, and do
// not have the URL, which may have a password.
func ParseLiveURL(source string) (*url.URL, error) {
	u, err := url.Parse(source)
	if err != nil || len(source) > maxLiveURL || u.Hostname() == "" || u.Opaque != "" {
		return nil, wrong("source", "the source is no URL of %d bytes at most; want SCHEME://HOST/PATH", maxLiveURL)
	}
	usual, ok := liveSchemes[u.Scheme]
	if !ok {
		return nil, wrong("source", "source with the scheme %.20q; want rtmp, rtsp, srt, http or https, or a path in the media share", u.Scheme)
	}
	if port := u.Port(); port != "" || usual == 0 {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, wrong("source", "port %.20q of the source; want 1 to 65535 in SCHEME://HOST:PORT", port)
		}
	}
	return u, nil
}

// LivePort returns the port of a live source.
func LivePort(u *url.URL) int {
	if n, err := strconv.Atoi(u.Port()); err == nil {
		return n
	}
	return liveSchemes[u.Scheme]
}

// ShownLiveURL returns what of a live source's URL everybody may see: its path may be a
// stream key.
func ShownLiveURL(u *url.URL) string { return fmt.Sprintf("%s://%s/…", u.Scheme, u.Host) }

// SubjectTunnel is of requests by which a worker reads from the live source that it
// receives, and writes to it.
const SubjectTunnel = "pb.tunnel"

// A TunnelRequest asks the queue to write to a live source, or to read from it.
type TunnelRequest struct {
	Job        int64 `json:"job"`
	Attempt    int   `json:"attempt"`
	Connection int   `json:"connection"` // LivePiece.Connection: each has its own to the source
	// Offset is how many bytes were read, or written, before; so that a repeated request
	// has the reply of the first.
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"` // to write; nil: read
}

// A TunnelReply answers a TunnelRequest.
type TunnelReply struct {
	Data []byte `json:"data,omitempty"` // that was read; nil: nothing has come yet
	End  bool   `json:"end,omitempty"`  // nothing will come any more
	Err  string `json:"err,omitempty"`  // why there is no connection; "": there is
}

// MaxTunnelData bounds the data of a message, in bytes.
const MaxTunnelData = 256 << 10
