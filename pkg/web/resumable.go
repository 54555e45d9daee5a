package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/share"
)

// resumableDir holds resumable uploads: ID.part is what has arrived, ID.json says
// what it will be.
const resumableDir = uploadDir + "/resumable"

// Limits of resumable uploads.
const (
	maxResumable    = 256 // that are not complete, each of which reserves its space
	maxOwnResumable = 32  // of one user
	resumableLasts  = 24 * time.Hour
	sweepEvery      = 10 * time.Minute
	maxResumeInfo   = 8 << 10 // bytes of ID.json
)

// A Pending is a resumable upload.
type Pending struct {
	ID        string    `json:"id"`
	Path      string    `json:"path"`              // that it will have in the media share
	Purpose   string    `json:"purpose,omitempty"` // "template": an image to be imported, which gets no name there
	User      string    `json:"user"`              // who uploads it
	SizeBytes int64     `json:"size_bytes"`
	Offset    int64     `json:"offset"`  // bytes that have arrived
	Expires   time.Time `json:"expires"` // then it is removed, unless more arrives
}

// forTemplate is the purpose of an upload that a template is imported from. It stays a
// part: the import removes it, or it expires.
const forTemplate = "template"

// resumables are the resumable uploads for a directory. A restart keeps them.
type resumables struct {
	dir     string // the media share, or that of images
	max     int64  // bytes of one upload
	purpose string // of all of them

	creating sync.Mutex // held while space is looked for and reserved
	mu       sync.Mutex
	held     map[string]*hold
}

// A hold is a request that works on an upload.
type hold struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// errSuperseded ends a request whose client has made another one about the same
// upload: its connection is gone, even if that is not known here.
var errSuperseded = errors.New("another request continues this upload")

var uploadID = regexp.MustCompile(`^[A-Z2-7]{26}$`) // of rand.Text

func partOf(id string) string { return path.Join(resumableDir, id+".part") }
func infoOf(id string) string { return path.Join(resumableDir, id+".json") }

// hold makes the caller the only one that works on an upload until it calls release,
// and ends a request that does.
func (u *resumables) hold(ctx context.Context, id string) (held context.Context, release func(), err error) {
	for {
		u.mu.Lock()
		old := u.held[id]
		if old == nil {
			break
		}
		u.mu.Unlock()
		old.cancel(errSuperseded)
		select {
		case <-old.done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	defer u.mu.Unlock()
	held, cancel := context.WithCancelCause(ctx)
	h := &hold{cancel, make(chan struct{})}
	if u.held == nil {
		u.held = map[string]*hold{}
	}
	u.held[id] = h
	return held, func() {
		u.mu.Lock()
		delete(u.held, id)
		u.mu.Unlock()
		cancel(nil)
		close(h.done)
	}, nil
}

// create reserves the space of an upload.
func (u *resumables) create(user, name string, size int64) (p Pending, err error) {
	u.creating.Lock()
	defer u.creating.Unlock()
	root, err := os.OpenRoot(u.dir)
	if err != nil {
		return Pending{}, errNoShare
	}
	defer root.Close()
	if err := errors.Join(openUploadDir(root), makeResumableDir(root)); err != nil {
		return Pending{}, err
	}
	if _, err := root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return Pending{}, pi.Conflicting("filename", errTaken)
	}
	if err := u.admit(root, user, size); err != nil {
		return Pending{}, err
	}
	p = Pending{ID: rand.Text(), Path: name, Purpose: u.purpose, User: user, SizeBytes: size}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.removeFiles(root, p.ID))
		}
	}()
	if err := reserve(root, partOf(p.ID), size); err != nil {
		return Pending{}, err
	}
	if err := writeInfo(root, p); err != nil {
		return Pending{}, err
	}
	return u.read(root, p.ID)
}

var errNoShare = statusError{errors.New("the media share is not there"), 503}

func makeResumableDir(root *os.Root) error {
	if err := root.Mkdir(resumableDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making %s: %w", resumableDir, err)
	}
	return nil
}

// admit verifies that a user may have another upload, and that there is space.
func (u *resumables) admit(root *os.Root, user string, size int64) error {
	all, err := u.list(root)
	if err != nil {
		return err
	}
	open, own := 0, 0
	for _, p := range all {
		if p.Offset == p.SizeBytes {
			continue
		}
		if open++; p.User == user {
			own++
		}
	}
	if own >= maxOwnResumable || open >= maxResumable {
		return busyError{fmt.Sprintf("%d resumable uploads are not complete, %d of them of %s; the most are %d and %d", open, own, user, maxResumable, maxOwnResumable)}
	}
	upload := upload{dir: u.dir, max: u.max, reserved: unreserved(root, all)}
	return upload.room(size)
}

// reserve makes an empty file that has the space of a larger one.
func reserve(root *os.Root, name string, size int64) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // unreserved counts it instead
	}
	return errors.Join(err, file.Close())
}

// unreserved returns the bytes that uploads will need beyond those that they
// occupy, which is all on a file system that reserves nothing.
func unreserved(root *os.Root, all []Pending) (bytes int64) {
	for _, p := range all {
		info, err := root.Lstat(partOf(p.ID))
		if err != nil {
			continue // it is complete
		}
		const block = 512 // of st_blocks, whatever the file system's are
		bytes += max(p.SizeBytes-info.Sys().(*syscall.Stat_t).Blocks*block, 0)
	}
	return bytes
}

// writeInfo writes ID.json so that it is there whole, or not at all.
func writeInfo(root *os.Root, p Pending) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	temp := infoOf(p.ID) + ".new"
	_, err = share.Receive(root, temp, strings.NewReader(string(text)), func(int64) error { return nil })
	if err != nil {
		return err
	}
	return root.Rename(temp, infoOf(p.ID))
}

// read returns an upload as it is now. The error matches fs.ErrNotExist if there is
// none.
func (u *resumables) read(root *os.Root, id string) (p Pending, err error) {
	if !uploadID.MatchString(id) {
		return Pending{}, fs.ErrNotExist
	}
	file, err := root.Open(infoOf(id))
	if err != nil {
		return Pending{}, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxResumeInfo))
	if err != nil {
		return Pending{}, err
	}
	if err := json.Unmarshal(text, &p); err != nil || p.ID != id || checkUploadName(p.Path) != nil || p.SizeBytes < 1 {
		return Pending{}, fmt.Errorf("%s is damaged: %w", infoOf(id), errors.Join(err, fs.ErrNotExist))
	}
	info, err := root.Lstat(partOf(id))
	p.Offset = p.SizeBytes // it has its name, unless there is a part
	if err == nil {
		p.Offset = info.Size()
	} else if info, err = file.Stat(); err != nil {
		return Pending{}, err
	}
	p.Expires = info.ModTime().Add(resumableLasts)
	return p, nil
}

// list returns all uploads, the oldest first.
func (u *resumables) list(root *os.Root) (all []Pending, err error) {
	dir, err := root.Open(resumableDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, isInfo := strings.CutSuffix(name, ".json")
		if !isInfo {
			continue
		}
		if p, err := u.read(root, id); err == nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Pending) int { return a.Expires.Compare(b.Expires) })
	return all, nil
}

// write appends a body to an upload, and returns its new offset. before is called
// before each piece.
func (u *resumables) write(root *os.Root, p Pending, body io.Reader, before func() error) (offset int64, err error) {
	file, err := root.OpenFile(partOf(p.ID), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return p.Offset, err
	}
	defer func() { err = errors.Join(err, file.Sync(), file.Close()) }()
	offset = p.Offset
	for {
		if err := before(); err != nil {
			return offset, err
		}
		n, err := io.CopyN(file, body, min(share.ReceivePiece, p.SizeBytes-offset))
		offset += n
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("receiving byte %d: %w", offset, err)
		}
		if offset == p.SizeBytes {
			return offset, atEnd(body)
		}
	}
}

// atEnd refuses a body that has more than it should.
func atEnd(body io.Reader) error {
	if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
		return statusError{errors.New("there is more in the request than the upload's size"), 413}
	}
	return nil
}

// removeFiles ends an upload.
func (u *resumables) removeFiles(root *os.Root, id string) error {
	var errs []error
	for _, name := range []string{partOf(id), infoOf(id), infoOf(id) + ".new"} {
		if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweep removes uploads that have expired, and what is no upload. Those that a
// request works on stay.
func (u *resumables) sweep(root *os.Root, now time.Time) error {
	u.creating.Lock() // so that no half of a new upload is found
	defer u.creating.Unlock()
	dir, err := root.Open(resumableDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	errs := []error{err}
	stays := map[string]bool{} // is decided before anything is removed
	for _, name := range names {
		id, _, _ := strings.Cut(name, ".")
		p, err := u.read(root, id)
		stays[id] = err == nil && now.Before(p.Expires) || u.isHeld(id)
	}
	for _, name := range names {
		id, _, _ := strings.Cut(name, ".")
		if !stays[id] || name != id+".part" && name != id+".json" {
			errs = append(errs, root.RemoveAll(path.Join(resumableDir, name)))
		}
	}
	return errors.Join(errs...)
}

func (u *resumables) isHeld(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held[id] != nil
}
