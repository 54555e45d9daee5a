package web

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The share is listed without what is hidden, pibootd's own or elsewhere.
func TestFilesOfTheShare(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "videos/season 1/b.mkv"), "a video")
	for _, name := range []string{"videos/a.mp4", "videos/.part", "trash/old.mp4", ".pibootd/x", "c.mp4"} {
		write(t, filepath.Join(d.media, name), "x")
	}
	for name, to := range map[string]string{"out": "/etc", "linked.mp4": "videos/a.mp4", "outside.mp4": "/etc/passwd"} {
		if err := os.Symlink(to, filepath.Join(d.media, name)); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string][]string{
		"": {"videos/", "c.mp4", "linked.mp4"}, "videos": {"season 1/", "a.mp4"}, "videos/season 1": {"b.mkv"}, "/videos/../videos/": {"season 1/", "a.mp4"},
	} {
		list, err := d.client.Files(t.Context(), dir)
		var names []string
		for _, file := range list.Files {
			name := file.Name
			if file.Dir {
				name += "/"
			}
			names = append(names, name)
		}
		if err != nil || !slices.Equal(names, want) || list.More {
			t.Errorf("%q has %q, %v; want %q", dir, names, err, want)
		}
	}
	for _, dir := range []string{"nothing", "c.mp4", "trash", "videos/.part", ".pibootd", "out", "../media", "videos/../.."} {
		list, err := d.client.Files(t.Context(), dir)
		if dir == "videos/../.." { // is the share itself: nothing is above it
			if err != nil || list.Path != "" {
				t.Errorf("%q: %+v, %v; want the share", dir, list, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%q is listed: %+v", dir, list)
		}
	}
	for i := range maxShareFiles + 1 {
		write(t, filepath.Join(d.media, "many", fmt.Sprintf("%04d.mp4", i)), "")
	}
	if list, err := d.client.Files(t.Context(), "many"); err != nil || len(list.Files) != maxShareFiles || !list.More {
		t.Errorf("%d files, more: %v, %v; want %d and more", len(list.Files), list.More, err, maxShareFiles)
	}
	d.wantRefusal(t, refusedRequest{false, http.MethodGet, "/api/v1/files?dir=nothing", "", 404, "dir", "nothing"})
}
