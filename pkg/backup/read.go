package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"pibootd/pkg/pi"
)

// A receiver receives the members of a backup, in their order.
type receiver interface {
	header(Header) error
	state(*tar.Header, io.Reader) error  // named from the state directory
	config(*tar.Header, io.Reader) error // the configuration file
	root(Root) error                     // whose files follow
	rootFile(*tar.Header, io.Reader) error
	media(*tar.Header, io.Reader) error // named from the media share
}

// Verify reads a whole backup and returns what is in it. It fails for one that is damaged, cut
// off, of another format, or sealed for somebody else. tick gets the bytes that were read.
func Verify(ctx context.Context, r io.Reader, identities []age.Identity, tick func(bytes int64)) (Header, error) {
	return read(ctx, r, identities, tick, nothing{})
}

// nothing is a receiver that only reads.
type nothing struct{}

func (nothing) header(Header) error                { return nil }
func (nothing) root(Root) error                    { return nil }
func (nothing) state(*tar.Header, io.Reader) error { return nil }

func (nothing) config(_ *tar.Header, _ io.Reader) error   { return nil }
func (nothing) rootFile(_ *tar.Header, _ io.Reader) error { return nil }
func (nothing) media(_ *tar.Header, _ io.Reader) error    { return nil }

// counted counts what is read of the file.
type counted struct {
	io.Reader
	bytes int64
	tick  func(int64)
}

func (c *counted) Read(buf []byte) (int, error) {
	n, err := c.Reader.Read(buf)
	c.bytes += int64(n)
	if c.tick != nil {
		c.tick(c.bytes)
	}
	return n, err
}

// unpacked is the archive in a backup, and whether reading it failed, as opposed to doing something with it.
type unpacked struct {
	io.Reader
	failed bool
}

func (u *unpacked) Read(buf []byte) (int, error) {
	n, err := u.Reader.Read(buf)
	u.failed = u.failed || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

func read(ctx context.Context, r io.Reader, identities []age.Identity, tick func(int64), v receiver) (Header, error) {
	in, err := unseal(&counted{Reader: r, tick: tick}, identities)
	if err != nil {
		return Header{}, err
	}
	defer in.Close()
	from := &unpacked{Reader: in}
	m := &members{from: from, tar: tar.NewReader(from), receiver: v}
	if err := m.all(ctx); err != nil {
		return Header{}, fmt.Errorf("backup: %w", err)
	}
	// What follows the archive has the checksum of what is before it.
	if _, err := io.Copy(padding{}, in); err != nil {
		return Header{}, fmt.Errorf("backup: it is damaged: %w", err)
	}
	return m.head, nil
}

// padding takes what may follow the end of an archive.
type padding struct{}

func (padding) Write(p []byte) (int, error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		return 0, errors.New("something follows its end; want a file that pibootd backup has made")
	}
	return len(p), nil
}

// members reads the members of a backup.
type members struct {
	from *unpacked
	tar  *tar.Reader
	receiver
	head  Header
	begun bool
	ended bool
	board string // whose root's files follow
}

func (m *members) all(ctx context.Context) error {
	for {
		header, err := m.tar.Next()
		switch {
		case errors.Is(err, io.EOF) && m.ended:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("it is cut off: its end is not there; want the whole file")
		case err != nil:
			return fmt.Errorf("it is damaged: %w", err)
		case m.ended:
			return fmt.Errorf("%q follows its end; want a file that pibootd backup has made", header.Name)
		}
		err = m.member(header)
		if err != nil && (m.from.failed || errors.Is(err, io.ErrUnexpectedEOF)) {
			err = fmt.Errorf("it is damaged: %w", err)
		}
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
	}
}

func (m *members) member(header *tar.Header) error {
	name := header.Name
	if !m.begun {
		return m.first(header)
	}
	// Files of roots are unpacked when all else has its name already.
	if slices.Contains(strings.Split(name, "/"), "..") {
		return fmt.Errorf("%q leaves its directory, which no backup has", name)
	}
	if rest, ok := strings.CutPrefix(name, stateDir); ok {
		return m.state(renamed(header, stateDir, rest), m.tar)
	}
	if rest, ok := strings.CutPrefix(name, mediaDir); ok {
		return m.media(renamed(header, mediaDir, rest), m.tar)
	}
	if rest, ok := strings.CutPrefix(name, rootsDir); ok {
		return m.ofRoot(header, rest)
	}
	switch name {
	case configName:
		return m.config(header, m.tar)
	case endName:
		m.ended = true
		return nil
	}
	return fmt.Errorf("it has %q in it, which no backup has", name)
}

// renamed returns header with a name, and, of a hard link, a target without prefix.
func renamed(header *tar.Header, prefix, name string) *tar.Header {
	header.Name = name
	if header.Typeflag == tar.TypeLink {
		header.Linkname = strings.TrimPrefix(header.Linkname, prefix)
	}
	return header
}

func (m *members) first(header *tar.Header) error {
	if header.Name != headerName {
		return fmt.Errorf("it begins with %q, not with %q; want a file that pibootd backup has made", header.Name, headerName)
	}
	if err := m.text(header, &m.head); err != nil {
		return err
	}
	if m.head.Format != Format {
		return fmt.Errorf("it has the format %d; want %d: use the pibootd that made it, %s", m.head.Format, Format, m.head.Version)
	}
	if !filepath.IsAbs(m.head.StateDir) || !filepath.IsAbs(m.head.MediaDir) || m.head.StateDir == m.head.MediaDir {
		return fmt.Errorf("its state directory is %q and its media share %q; want two absolute paths", m.head.StateDir, m.head.MediaDir)
	}
	m.begun = true
	return m.receiver.header(m.head)
}

// ofRoot reads roots/SERIAL.json, or a file of that root.
func (m *members) ofRoot(header *tar.Header, name string) error {
	if serial, ok := strings.CutSuffix(name, ".json"); ok && path.Base(name) == name {
		var r Root
		if err := m.text(header, &r); err != nil {
			return err
		}
		if parsed, err := pi.ParseSerial(serial); err != nil || parsed != r.Serial {
			return fmt.Errorf("%s is of the board %s; want one that is of its own", header.Name, r.Serial)
		}
		m.board = serial
		return m.root(r)
	}
	prefix := m.board + "/"
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok || m.board == "" {
		return fmt.Errorf("%s is not of the root before it", header.Name)
	}
	return m.rootFile(renamed(header, rootsDir+prefix, rest), m.tar)
}

// text reads a member in JSON.
func (m *members) text(header *tar.Header, into any) error {
	if header.Size > maxText {
		return fmt.Errorf("%s has %d bytes; want %d at most", header.Name, header.Size, maxText)
	}
	text, err := io.ReadAll(m.tar)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", header.Name, err)
	}
	return nil
}
