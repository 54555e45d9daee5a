//go:build netns

package rootfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pibootd/pkg/rootfs/debian"
)

// A mirror is a Debian mirror with no packages. Its list of them is not the one
// that Release names while it is asked no more than mixed times.
type mirror struct {
	mixed int

	mu       sync.Mutex
	releases int // times that Release was asked for
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch path.Base(r.URL.Path) {
	case "Release":
		m.releases++
		fmt.Fprintf(w, "Suite: bookworm\nCodename: bookworm\nArchitectures: arm64 armhf\nComponents: main non-free-firmware\nSHA256:\n")
		list := "" // of a time before or after
		if m.releases <= m.mixed {
			list = "Package: other\n\n"
		}
		for _, component := range strings.Fields(debian.Components) {
			for _, arch := range []string{"arm64", "armhf"} {
				fmt.Fprintf(w, " %x %d %s/binary-%s/Packages\n", sha256.Sum256([]byte(list)), len(list), component, arch)
			}
		}
	case "Packages": // empty
	default:
		http.NotFound(w, r)
	}
}

// A build from a mirror whose lists do not fit together asks it once more, then
// says what to do, and leaves nothing.
func TestMixedMirror(t *testing.T) {
	for _, test := range []struct {
		mixed, releases int
		lasts           bool
	}{{mixed: 1, releases: 2}, {mixed: 9, releases: 2, lasts: true}} {
		m := &mirror{mixed: test.mixed}
		server := httptest.NewServer(m)
		// apt is to believe a mirror that signs nothing.
		o := debian.BuildOptions{Mirror: server.URL, CacheDir: t.TempDir(), Keyring: "/dev/null trusted=yes"}
		templates := &Templates{Dir: filepath.Join(t.TempDir(), "templates")}
		_, _, err := templates.BuildDebian(t.Context(), "full", debian.Options{BuildOptions: o, Arch: "armv7"}, nil)
		server.Close()
		if err == nil || errors.Is(err, debian.ErrMixedLists) != test.lasts {
			t.Errorf("a mirror that is mixed %d times: %v; want errMixedLists: %t", test.mixed, err, test.lasts)
		}
		if m.releases != test.releases {
			t.Errorf("a mirror that is mixed %d times was asked %d times; want %d", test.mixed, m.releases, test.releases)
		}
		checkNothingLeft(t, templates)
	}
}
