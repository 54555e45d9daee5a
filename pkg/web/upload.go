package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"pibootd/pkg/pi"
	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

// uploadDir holds uploads in the media share until they are complete. Its name
// begins with a dot, so neither players nor the watch folder see them.
const uploadDir = transcode.UploadDir

// Limits of uploads.
const (
	maxUploads     = 64        // at a time; each needs an open file and 32 kB of memory
	maxOwnUploads  = 16        // from one address
	uploadFloor    = 512 << 20 // bytes that must stay free
	maxUploadName  = 200       // bytes of each component; Linux allows 255, and a number may be added
	maxUploadParts = 8
	uploadPatience = time.Minute // for share.ReceivePiece; slower uploads are aborted
)

// An Uploaded answers an upload.
type Uploaded struct {
	Path      string `json:"path"` // in the media share
	SizeBytes int64  `json:"size_bytes"`
}

// uploadHandler receives files for the media share. Each appears complete and on
// disk, or not at all, and none replaces another.
func (s *Server) uploadHandler(slots *slots) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		done, err := slots.take(clientOf(r))
		if err != nil {
			s.refuse(w, err)
			return
		}
		defer done()
		uploaded, err := s.upload(w, r)
		if err != nil {
			s.Log.Warn("upload refused", "component", "web", "file", r.PathValue("name"), "addr", r.RemoteAddr, "err", err)
			s.refuse(w, err)
			return
		}
		if uploaded.SizeBytes == 0 { // the client only checked whether it can upload
			s.reply(w, uploaded)
			return
		}
		s.Log.Info("uploaded", "component", "web", "file", uploaded.Path, "bytes", uploaded.SizeBytes, "addr", r.RemoteAddr)
		reply(w, s.Log, http.StatusCreated, uploaded)
	}
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) (Uploaded, error) {
	name := r.PathValue("name")
	if err := checkUploadName(name); err != nil {
		return Uploaded{}, pi.InvalidField("name", err)
	}
	root, err := os.OpenRoot(s.Info.MediaDir)
	if err != nil {
		return Uploaded{}, errNoShare
	}
	defer root.Close()
	if _, err := root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return Uploaded{}, pi.Conflicting("name", errTaken)
	}
	pending, err := s.uploads.list(root)
	if err != nil {
		return Uploaded{}, err
	}
	u := &upload{root: root, dir: s.Info.MediaDir, max: s.MaxUpload, reserved: unreserved(root, pending)}
	size, asked, err := sizeOf(r)
	if err != nil {
		return Uploaded{}, pi.InvalidField("check", err)
	}
	if err := u.room(size); err != nil || asked {
		return Uploaded{Path: name}, err
	}
	temp := path.Join(uploadDir, rand.Text()+".part")
	defer func() { _ = root.Remove(temp) }() // does not exist after success
	if err := u.receive(r.Context(), w, r, temp); err != nil {
		return Uploaded{}, err
	}
	if err := u.place(temp, name); err != nil {
		return Uploaded{}, err
	}
	return Uploaded{Path: name, SizeBytes: u.got}, nil
}

// sizeOf returns the number of bytes of an upload, 0 if that is unknown. With
// ?check=SIZE a client only asks whether it could upload that many.
func sizeOf(r *http.Request) (size int64, asked bool, err error) {
	text := r.URL.Query().Get("check")
	if text == "" {
		return max(r.ContentLength, 0), false, nil
	}
	size, err = strconv.ParseInt(text, 10, 64)
	if err != nil || size < 1 {
		return 0, true, fmt.Errorf("check=%.40q; want the size of the file in bytes", text)
	}
	return size, true, nil
}

var errTaken = errors.New("there is a file of this name; want a new one")

func checkUploadName(name string) error {
	parts := strings.Split(name, "/")
	bad := func(part string) bool {
		return part == "" || strings.HasPrefix(part, ".") || len(part) > maxUploadName || strings.ContainsFunc(part, unicode.IsControl)
	}
	if !utf8.ValidString(name) || len(parts) > maxUploadParts || slices.ContainsFunc(parts, bad) {
		return fmt.Errorf("%.100q cannot name a file; want up to %d parts of 1 to %d bytes, without control characters or a leading dot", name, maxUploadParts, maxUploadName)
	}
	if slices.Contains(share.PublishedDirs(), parts[0]) {
		return fmt.Errorf("%s is where pibootd puts things; want another directory", parts[0])
	}
	return nil
}

// An upload is a file that is being received.
type upload struct {
	root *os.Root
	dir  string
	max  int64 // bytes
	got  int64

	reserved int64 // bytes of the free space that resumable uploads will need
}

// room verifies that this many more bytes are allowed.
func (u *upload) room(more int64) error {
	if u.got+more > u.max {
		return statusError{fmt.Errorf("it has more than %d bytes, which is the most (http.upload_max_gb)", u.max), http.StatusRequestEntityTooLarge}
	}
	free, err := share.FreeBytes(u.dir)
	if err != nil {
		return errors.New("the media share's free space is not known")
	}
	free -= u.reserved
	if free-more < uploadFloor {
		return statusError{fmt.Errorf("the media share has %d bytes free; want %d more than the file's", free, int64(uploadFloor)), http.StatusInsufficientStorage}
	}
	return nil
}

// receive writes the body to a file and syncs it. If ctx ends, it stops with the
// cause of that, even while no data arrives.
func (u *upload) receive(ctx context.Context, w http.ResponseWriter, r *http.Request, temp string) error {
	if err := openUploadDir(u.root); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	stop := context.AfterFunc(ctx, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var err error
	u.got, err = share.Receive(u.root, temp, sent{r.Body}, func(got int64) error {
		u.got = got
		// The cause is read last: if ctx ends before the deadline is set, which
		// then replaces that of AfterFunc, its cause still ends the upload.
		return errors.Join(u.room(0), control.SetReadDeadline(time.Now().Add(uploadPatience)), context.Cause(ctx))
	})
	// A body that cannot be read also ends ctx, but its own error is the cause.
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	switch {
	case err == nil && u.got == 0:
		return pi.InvalidField("", errors.New("the file is empty"))
	case err == nil && u.got > u.max:
		return u.room(0)
	}
	return err
}

// place gives a complete file its name.
func (u *upload) place(temp, name string) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return pi.Conflicting("name", fmt.Errorf("making its directory: %w", err))
	}
	err := share.RenameNew(u.root, temp, name)
	if errors.Is(err, fs.ErrExist) {
		return pi.Conflicting("name", errTaken)
	}
	return err
}

// sent reads a client's body. A read error is the client's fault, except for a
// timeout.
type sent struct{ io.Reader }

func (s sent) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = pi.InvalidField("", err)
	}
	return n, err
}

// openUploadDir creates the directory of uploads. Anything else of that name
// belongs to somebody else, who could exchange a file before it is complete.
func openUploadDir(root *os.Root) error {
	if err := root.Mkdir(uploadDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making %s: %w", uploadDir, err)
	}
	info, err := root.Lstat(uploadDir)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", uploadDir, err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 || owner != uint32(os.Geteuid()) {
		return fmt.Errorf("%s in the media share is %v of user %d; want a directory that only pibootd writes to: restart pibootd, which makes it again", uploadDir, info.Mode(), owner)
	}
	return nil
}
