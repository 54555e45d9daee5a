//go:build e2e

package web

import (
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
)

// maxFirstLoad is the most that a browser has to load before it shows something.
const maxFirstLoad = 150_000 // bytes, compressed

// What the page loads first is small, and the player's library is not in it. Each
// asset is sent with the page's rules, and compressed or not, as the client asks.
func TestFirstLoadIsSmall(t *testing.T) {
	d := start(t)
	page, err := fs.ReadFile(bundle, "ui/dist/index.html.gz")
	if err != nil {
		t.Fatalf("pibootd is built without the dashboard, run make ui first: %v", err)
	}
	first := len(page)
	_, _, text := d.ask(t, http.MethodGet, "/", "", "")
	assets, err := fs.Glob(bundle, "ui/dist/assets/*.gz")
	if err != nil {
		t.Fatal(err)
	}
	for _, asset := range assets {
		content, err := fs.ReadFile(bundle, asset)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(path.Base(asset), ".gz")
		if !strings.HasPrefix(name, "Video-") { // all others may be what the page imports
			first += len(content)
		}
		status, header, body := d.ask(t, http.MethodGet, "/assets/"+name, "", "")
		if status != 200 || !strings.Contains(header.Get("Cache-Control"), "immutable") || len(body) < len(content) {
			t.Errorf("%s: %d, %v, %d bytes; want it whole, and kept by browsers", name, status, header, len(body))
		}
		wantPageRules(t, name, header)
		if found := regexp.MustCompile(`innerHTML|insertAdjacent|document\.write|eval\(`).FindString(body); found != "" && strings.HasPrefix(name, "app-") {
			t.Logf("%s has %q in it", name, found)
		}
	}
	if !strings.Contains(text, `src="/assets/app-`) || first > maxFirstLoad {
		t.Errorf("the page and what it loads have %d bytes; want at most %d", first, maxFirstLoad)
	}
	t.Logf("%d bytes", first)
}
