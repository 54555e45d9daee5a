package web

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"pibootd/pkg/share"
)

// mediaTypes are the media types of files that players and pages show, by file name
// extension. Players insist on some (RFC 8216 §4). None of these types can contain
// scripts: SVG and TTML, which are XML, are omitted on purpose.
var mediaTypes = map[string]string{
	".m3u8": "application/vnd.apple.mpegurl", ".m3u": "audio/mpegurl",
	".ts": "video/mp2t", ".mts": "video/mp2t", ".m2ts": "video/mp2t",
	".m4s": "video/iso.segment", ".mp4": "video/mp4", ".m4v": "video/mp4", ".m4a": "audio/mp4",
	".mkv": "video/x-matroska", ".mka": "audio/x-matroska", ".webm": "video/webm", ".mov": "video/quicktime",
	".avi": "video/x-msvideo", ".wmv": "video/x-ms-wmv", ".flv": "video/x-flv", ".3gp": "video/3gpp",
	".mpg": "video/mpeg", ".mpeg": "video/mpeg", ".vob": "video/mpeg", ".ogv": "video/ogg",
	".aac": "audio/aac", ".ac3": "audio/ac3", ".eac3": "audio/eac3", ".mp3": "audio/mpeg", ".wav": "audio/wav",
	".flac": "audio/flac", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg",
	".vtt": "text/vtt; charset=utf-8", ".srt": "application/x-subrip",
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif",
}

// mediaRules restrict a file of the share that a browser opens directly: it can
// only be viewed. It has no origin, not even pibootd's, and no scripts; the
// browser's own page around a video or picture needs the other permissions.
const mediaRules = "sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"

// mediaHandler serves the files of the media share to players. It serves no names
// that begin with a dot, such as unpublished work, no directory listings, and no
// links out of the share. Anybody may have put a file there, so no file can run as
// a page of this origin.
func mediaHandler(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setMediaRules(w.Header())
		name := path.Clean("/" + r.URL.Path)[1:]
		if name == "" || isWithheld(name) {
			http.NotFound(w, r)
			return
		}
		file, info, err := openMedia(dir, name, isWithheld)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer file.Close()
		setMediaType(w.Header(), name)
		setVersion(w.Header(), name, info)
		http.ServeContent(w, r, name, info.ModTime(), file)
	})
}

// setVersion names the version of a file. Last-Modified alone has seconds, in each of which a
// playlist can grow several times: a player that asks whether it has changed would be answered
// that it has not, for ever if that was its end. Without no-cache, browsers keep a playlist
// the longer the older it is.
func setVersion(h http.Header, name string, info fs.FileInfo) {
	file := uint64(0) // another one has the name after each change
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		file = stat.Ino
	}
	h.Set("ETag", fmt.Sprintf(`"%x-%x-%x"`, file, info.Size(), info.ModTime().UnixNano()))
	if path.Ext(name) == ".m3u8" {
		h.Set("Cache-Control", "no-cache")
	}
}

// Scripts in pages of other origins may fetch playlists, and see why they got none.
func setMediaRules(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Content-Security-Policy", mediaRules)
	h.Set("X-Content-Type-Options", "nosniff")
}

// setMediaType sets the type of a file. A file of an unknown type is downloaded.
func setMediaType(h http.Header, name string) {
	kind, ok := mediaTypes[strings.ToLower(path.Ext(name))]
	if !ok {
		kind = "application/octet-stream"
		h.Set("Content-Disposition", "attachment")
	}
	h.Set("Content-Type", kind)
}

// isHidden reports whether any part of a path in the share begins with a dot.
func isHidden(name string) bool { return strings.Contains("/"+name, "/.") }

// openMedia opens a file of the share, also through links that boards may have
// created. hidden reports whether a path must not be served even through a link, as
// is the case for a stream's key.
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

// pathOf returns the path of an open file in root, after links are resolved.
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
