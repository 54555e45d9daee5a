package web

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
)

// mediaTypes are those that players insist on (RFC 8216 §4); Go's own table
// does not have them on every machine.
var mediaTypes = map[string]string{
	".m3u8": "application/vnd.apple.mpegurl",
	".ts":   "video/mp2t",
	".m4s":  "video/iso.segment",
	".mp4":  "video/mp4",
}

// mediaHandler serves the files of the media share to players. What begins
// with a dot, such as unpublished work, is not there; neither are directories'
// lists nor links out of the share.
func mediaHandler(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Clean("/" + r.URL.Path)[1:]
		if name == "" || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
			http.NotFound(w, r)
			return
		}
		file, info, err := openMedia(dir, name)
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

func openMedia(dir, name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	// Boards write here: looked at before it is opened, so that a FIFO cannot
	// hold the request for ever.
	info, err := root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("not a regular file")
	}
	file, err := root.Open(name)
	return file, info, err
}
