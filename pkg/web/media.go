package web

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"pibootd/pkg/share"
)

// mediaTypes are those that players insist on (RFC 8216 §4) or go by; Go's own
// table does not have them on every machine.
var mediaTypes = map[string]string{
	".m3u8": "application/vnd.apple.mpegurl",
	".ts":   "video/mp2t",
	".m4s":  "video/iso.segment",
	".mp4":  "video/mp4",
	".mkv":  "video/x-matroska",
}

// mediaHandler serves the files of the media share to players. What begins
// with a dot, such as unpublished work, is not there; neither are directories'
// lists nor links out of the share.
func mediaHandler(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Clean("/" + r.URL.Path)[1:]
		if name == "" || isHidden(name) {
			http.NotFound(w, r)
			return
		}
		file, info, err := openMedia(dir, name, isHidden)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer file.Close()
		if kind, ok := mediaTypes[path.Ext(name)]; ok {
			w.Header().Set("Content-Type", kind)
		}
		// Players in pages of another origin fetch playlists by script.
		w.Header().Set("Access-Control-Allow-Origin", "*")
		http.ServeContent(w, r, name, info.ModTime(), file)
	})
}

// isHidden reports whether any part of a path in the share begins with a dot.
func isHidden(name string) bool { return strings.Contains("/"+name, "/.") }

// openMedia opens a file of the share, also by links that boards may have put
// there. hidden tells of a path that no link may lead to either, such as that of
// a stream's key.
func openMedia(dir, name string, hidden func(to string) bool) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	file, info, err := share.OpenRegular(root, name)
	if err != nil {
		return nil, nil, err
	}
	to, err := pathOf(root, file)
	if err == nil && hidden(to) {
		err = fmt.Errorf("%s is hidden: %w", to, fs.ErrNotExist)
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// pathOf returns where in root an open file is, whatever links led there.
func pathOf(root *os.Root, file *os.File) (string, error) {
	top, err := root.Open(".")
	if err != nil {
		return "", err
	}
	defer top.Close()
	from, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", top.Fd()))
	if err != nil {
		return "", err
	}
	to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}
