package worker

import (
	"net/url"
	"os"
	"testing"
)

// A worker that ends leaves nothing in its directory for work.
func TestRemoteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	r, err := newRemote(&Worker{}, &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v; want nothing", left, err)
	}
}
