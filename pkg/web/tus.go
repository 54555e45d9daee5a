package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/access"
	"pibootd/pkg/pi"
)

// Resumable uploads by tus 1.0 (https://tus.io/protocols/resumable-upload): the core
// protocol with the extensions creation, expiration and termination.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,expiration,termination"
	tusType       = "application/offset+octet-stream"
	tusPath       = "/api/v1/uploads/"
)

// describeTus answers what a client can use.
func (s *Server) describeTus(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Tus-Resumable", tusVersion)
	h.Set("Tus-Version", tusVersion)
	h.Set("Tus-Extension", tusExtensions)
	h.Set("Tus-Max-Size", strconv.FormatInt(s.MaxUpload, 10))
	w.WriteHeader(http.StatusNoContent)
}

// tus returns a handler of a request of the protocol.
func (s *Server) tus(do func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Tus-Resumable", tusVersion)
		w.Header().Set("Cache-Control", "no-store")
		if got := r.Header.Get("Tus-Resumable"); got != tusVersion {
			w.Header().Set("Tus-Version", tusVersion)
			s.refuse(w, statusError{fmt.Errorf("got the header Tus-Resumable: %.20q; want %s", got, tusVersion), http.StatusPreconditionFailed})
			return
		}
		if err := do(w, r); err != nil {
			s.refuse(w, err)
		}
	}
}

// createUpload starts an upload, whose address the answer has.
func (s *Server) createUpload(w http.ResponseWriter, r *http.Request) error {
	size, err := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	if err != nil || size < 1 {
		return pi.InvalidField("Upload-Length", fmt.Errorf("got the header Upload-Length: %.40q; want the size in bytes, from 1", r.Header.Get("Upload-Length")))
	}
	name, err := tusName(r.Header)
	if err == nil {
		err = checkUploadName(name)
	}
	if err != nil {
		return pi.InvalidField("filename", err)
	}
	to, err := s.uploadsFor(r)
	if err != nil {
		return err
	}
	p, err := to.create(loginOf(r).Name, name, size)
	if err != nil {
		return err
	}
	w.Header().Set("Location", tusPath+p.ID)
	setProgress(w.Header(), p)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// uploadsFor returns where a new upload belongs. An image is for the admin alone, whose boards will
// run what is in it.
func (s *Server) uploadsFor(r *http.Request) (*resumables, error) {
	purpose, _, err := tusMeta(r.Header, "purpose")
	switch {
	case err != nil:
		return nil, pi.InvalidField("purpose", err)
	case purpose == "":
		return &s.uploads, nil
	case purpose != forTemplate:
		return nil, pi.InvalidField("purpose", fmt.Errorf("purpose: got %.40q; want %s, or none", purpose, forTemplate))
	case loginOf(r).Scope != access.Admin:
		return nil, statusError{errors.New("an upload for a template needs the scope admin"), http.StatusForbidden}
	}
	return &s.images, os.MkdirAll(s.images.dir, 0o700)
}

// tusName returns the path that the header Upload-Metadata has under "filename".
func tusName(h http.Header) (string, error) {
	name, ok, err := tusMeta(h, "filename")
	if err == nil && !ok {
		err = errors.New(`the header Upload-Metadata has no filename; want "filename", a space, and the path in the media share in base64`)
	}
	return name, err
}

// tusMeta returns a value of the header Upload-Metadata.
func tusMeta(h http.Header, wanted string) (text string, ok bool, err error) {
	for pair := range strings.SplitSeq(h.Get("Upload-Metadata"), ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		if key != wanted {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return "", true, fmt.Errorf("the %s in the header Upload-Metadata is %.100q; want base64", wanted, value)
		}
		return string(text), true, nil
	}
	return "", false, nil
}

// setProgress says how far an upload is, and until when it can be continued.
func setProgress(h http.Header, p Pending) {
	h.Set("Upload-Offset", strconv.FormatInt(p.Offset, 10))
	if p.Offset < p.SizeBytes {
		h.Set("Upload-Expires", p.Expires.UTC().Format(http.TimeFormat))
	}
}

// A heldUpload is one that no other request works on until release.
type heldUpload struct {
	Pending
	of      *resumables
	ctx     context.Context // ends when another request wants the upload
	root    *os.Root
	release func()
}

// holdUpload returns the upload that a request names, if it is the user's.
func (s *Server) holdUpload(r *http.Request) (*heldUpload, error) {
	id := r.PathValue("id")
	gone := statusError{missing("id", errors.New("there is no such upload; it may have expired, or be another user's")), http.StatusNotFound}
	of, root, err := s.findUpload(id)
	if err != nil {
		return nil, err
	}
	// The owner is checked first, because to hold an upload ends who works on it.
	if p, err := of.read(root, id); err != nil || !mayContinue(loginOf(r), p) {
		root.Close()
		return nil, gone
	}
	ctx, release, err := of.hold(r.Context(), id)
	if err != nil {
		root.Close()
		return nil, err
	}
	h := &heldUpload{of: of, ctx: ctx, root: root, release: func() { release(); root.Close() }}
	if h.Pending, err = of.read(root, id); err != nil {
		h.release()
		return nil, gone
	}
	return h, nil
}

// findUpload returns the directory that an upload is in: that of images if it is there.
func (s *Server) findUpload(id string) (*resumables, *os.Root, error) {
	if root, err := os.OpenRoot(s.images.dir); err == nil {
		if _, err := s.images.read(root, id); err == nil {
			return &s.images, root, nil
		}
		root.Close()
	}
	root, err := os.OpenRoot(s.uploads.dir)
	if err != nil {
		return nil, nil, errNoShare
	}
	return &s.uploads, root, nil
}

func mayContinue(l login, p Pending) bool {
	return l.Scope == access.Admin || l.Name == p.User
}

// showUpload answers how far an upload is.
func (s *Server) showUpload(w http.ResponseWriter, r *http.Request) error {
	h, err := s.holdUpload(r)
	if err != nil {
		return err
	}
	defer h.release()
	if err := s.finishUpload(r, h); err != nil {
		return err
	}
	setProgress(w.Header(), h.Pending)
	w.Header().Set("Upload-Length", strconv.FormatInt(h.SizeBytes, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// continueUpload appends the body to an upload. The last byte gives it its name.
func (s *Server) continueUpload(slots *slots) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != tusType {
			return statusError{fmt.Errorf("got the type %.100q; want %s", r.Header.Get("Content-Type"), tusType), http.StatusUnsupportedMediaType}
		}
		offset, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
		if err != nil || offset < 0 {
			return pi.InvalidField("Upload-Offset", fmt.Errorf("got the header Upload-Offset: %.40q; want a number of bytes", r.Header.Get("Upload-Offset")))
		}
		done, err := slots.take(clientOf(r))
		if err != nil {
			return err
		}
		defer done()
		h, err := s.holdUpload(r)
		if err != nil {
			return err
		}
		defer h.release()
		if offset != h.Offset {
			return pi.Conflicting("Upload-Offset", fmt.Errorf("got Upload-Offset %d; want %d", offset, h.Offset))
		}
		if err := s.receivePart(w, r, h); err != nil {
			return err
		}
		setProgress(w.Header(), h.Pending)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// receivePart writes a body to its upload.
func (s *Server) receivePart(w http.ResponseWriter, r *http.Request, h *heldUpload) error {
	control := http.NewResponseController(w)
	stop := context.AfterFunc(h.ctx, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var err error
	if h.Offset < h.SizeBytes {
		h.Offset, err = h.of.write(h.root, h.Pending, sent{r.Body}, func() error {
			return errors.Join(control.SetReadDeadline(time.Now().Add(uploadPatience)), context.Cause(h.ctx))
		})
		h.Expires = time.Now().Add(resumableLasts)
	}
	if cause := context.Cause(h.ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err != nil {
		return err
	}
	return s.finishUpload(r, h)
}

// finishUpload gives an upload its name if it is complete and has none yet.
func (s *Server) finishUpload(r *http.Request, h *heldUpload) error {
	_, err := h.root.Lstat(partOf(h.ID))
	if h.Offset < h.SizeBytes || errors.Is(err, fs.ErrNotExist) || h.of.purpose != "" {
		return nil
	}
	if err := (&upload{root: h.root}).place(partOf(h.ID), h.Path); err != nil {
		return err
	}
	s.Log.Info("uploaded", "component", "web", "file", h.Path, "bytes", h.SizeBytes, "addr", r.RemoteAddr)
	return nil
}

// removeUpload ends an upload, also one that is complete, whose file stays.
func (s *Server) removeUpload(w http.ResponseWriter, r *http.Request) error {
	h, err := s.holdUpload(r)
	if err != nil {
		return err
	}
	defer h.release()
	if err := h.of.removeFiles(h.root, h.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listUploads lists the uploads of the user that are not complete, and for an admin
// those of all, and images that were not imported.
func (s *Server) listUploads(w http.ResponseWriter, r *http.Request) {
	own := []Pending{}
	for _, of := range []*resumables{&s.uploads, &s.images} {
		all, err := of.all()
		if err != nil {
			s.refuse(w, err)
			return
		}
		for _, p := range all {
			if (p.Offset < p.SizeBytes || of.purpose != "") && mayContinue(loginOf(r), p) {
				own = append(own, p)
			}
		}
	}
	s.reply(w, own)
}

// all returns all uploads, the oldest first.
func (u *resumables) all() ([]Pending, error) {
	root, err := os.OpenRoot(u.dir)
	if errors.Is(err, fs.ErrNotExist) && u.purpose != "" {
		return nil, nil
	}
	if err != nil {
		return nil, errNoShare
	}
	defer root.Close()
	return u.list(root)
}

// sweepUploads removes the parts of uploads that a killed daemon has left, what
// somebody else has put there, and resumable uploads that have expired.
func (s *Server) sweepUploads() {
	root, err := os.OpenRoot(s.Info.MediaDir)
	if err == nil {
		err = errors.Join(sweepParts(root), root.Close(), s.removeExpired(time.Now()))
	}
	if err != nil {
		s.Log.Warn("unfinished uploads not removed", "component", "web", "err", err)
	}
}

// sweepParts removes all of the directory of uploads but the resumable ones. If the
// directory is not ours, none of it is.
func sweepParts(root *os.Root) error {
	if openUploadDir(root) != nil {
		return errors.Join(root.RemoveAll(uploadDir), openUploadDir(root))
	}
	dir, err := root.Open(uploadDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	errs := []error{err}
	for _, name := range names {
		if full := uploadDir + "/" + name; full != resumableDir {
			errs = append(errs, root.RemoveAll(full))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) removeExpired(now time.Time) error {
	var errs []error
	for _, of := range []*resumables{&s.uploads, &s.images} {
		root, err := os.OpenRoot(of.dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && of.purpose != "":
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, of.sweep(root, now), root.Close())
		}
	}
	return errors.Join(errs...)
}

// sweepExpired removes resumable uploads that have expired, until ctx ends.
func (s *Server) sweepExpired(ctx context.Context) {
	for ticks := time.NewTicker(sweepEvery); ; {
		select {
		case <-ctx.Done():
			ticks.Stop()
			return
		case now := <-ticks.C:
			if err := s.removeExpired(now); err != nil {
				s.Log.Warn("expired uploads not removed", "component", "web", "err", err)
			}
		}
	}
}
