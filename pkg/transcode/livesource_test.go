package transcode

import (
	"strings"
	"testing"
)

// What is shown of a source's URL has no password and no key, whatever it is.
func FuzzParseLiveURL(f *testing.F) {
	for _, seed := range []string{"rtmp://a/live/key", "http://user:secret@192.0.2.1:8080/secret?x=secret#secret", "rtsp://[::1%25eth0]:554/", "https://a:0/", "http://:80/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		u, err := ParseLiveURL(source)
		if err != nil {
			return
		}
		if port := LivePort(u); port < 1 || port > 65535 {
			t.Errorf("%q: port %d", source, port)
		}
		if shown := ShownLiveURL(u); strings.Contains(shown, "@") && !strings.Contains(u.Host, "@") || len(shown) > len(u.Scheme)+len(u.Host)+10 {
			t.Errorf("%q is shown as %q", source, shown)
		}
	})
}
