package web

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/trash"
)

// Bounds of what is listed of a directory, and of what is read for that.
const (
	maxShareFiles = 2000
	maxShareNames = 20000
)

// A ShareDir is a directory of the media share, for those who look for a video there.
type ShareDir struct {
	Path  string      `json:"path"`           // in the media share; "" is the share itself
	Files []ShareFile `json:"files"`          // directories first, each by name
	More  bool        `json:"more,omitempty"` // there are more than are listed
}

// A ShareFile is a file or a directory.
type ShareFile struct {
	Name     string    `json:"name"`
	Dir      bool      `json:"dir,omitempty"`
	Bytes    int64     `json:"bytes,omitzero"` // of a file
	Modified time.Time `json:"modified"`
}

func (s *Server) listFiles(w http.ResponseWriter, r *http.Request) {
	dir, err := s.shareDir(r.URL.Query().Get("dir"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, dir)
}

// shareDir lists a directory. What pibootd keeps in the share, and names that begin with a dot,
// are left out.
func (s *Server) shareDir(name string) (ShareDir, error) {
	name = strings.Trim(path.Clean("/"+name), "/")
	list := ShareDir{Path: name, Files: []ShareFile{}}
	root, err := os.OpenRoot(s.Info.MediaDir)
	if err != nil {
		return list, errNoShare
	}
	defer root.Close()
	if isOurs(name) {
		return list, noShareDir(name)
	}
	names, err := namesIn(root, name)
	if err != nil {
		return list, err
	}
	for _, one := range names {
		if file, ok := shareFile(root, path.Join(name, one)); ok {
			list.Files = append(list.Files, file)
		}
	}
	slices.SortFunc(list.Files, func(a, b ShareFile) int {
		switch {
		case a.Dir == b.Dir:
			return strings.Compare(a.Name, b.Name)
		case a.Dir:
			return -1
		}
		return 1
	})
	list.More = len(list.Files) > maxShareFiles || len(names) == maxShareNames
	list.Files = list.Files[:min(len(list.Files), maxShareFiles)]
	return list, nil
}

// namesIn returns the names in a directory, not more than maxShareNames.
func namesIn(root *os.Root, name string) ([]string, error) {
	info, err := root.Stat(cmp.Or(name, "."))
	if err != nil || !info.IsDir() { // to open a named pipe would wait
		return nil, noShareDir(name)
	}
	dir, err := root.Open(cmp.Or(name, "."))
	if err != nil {
		return nil, noShareDir(name)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxShareNames)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("listing %.200q of the media share: %w", name, err)
	}
	return names, nil
}

// shareFile describes a file. Links are followed within the share.
func shareFile(root *os.Root, name string) (ShareFile, bool) {
	info, err := root.Stat(name)
	if err != nil || isOurs(name) || !info.IsDir() && !info.Mode().IsRegular() {
		return ShareFile{}, false
	}
	file := ShareFile{Name: path.Base(name), Dir: info.IsDir(), Modified: info.ModTime()}
	if !file.Dir {
		file.Bytes = info.Size()
	}
	return file, true
}

// isOurs reports whether a path of the share is hidden, or pibootd's own.
func isOurs(name string) bool {
	return isHidden(name) || transcode.IsReserved(name) || name == trash.Dir || strings.HasPrefix(name, trash.Dir+"/")
}

func noShareDir(name string) error {
	return missing("dir", fmt.Errorf("the media share has no directory %.200q", name))
}
