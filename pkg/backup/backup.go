// Package backup writes everything that a pibootd has into one file, while it runs, and makes it
// again elsewhere: its database, keys and configuration, its templates, what each board has
// changed in its root, and, if asked for, the media share.
//
// A backup is a tar archive in zstd, sealed by age if that is asked for. Its first member is a
// Header and its last an end, so that a file that lacks something is recognized. Between them
// are, in this order, state/ (the state directory without roots and media), config (the
// configuration file), for each board roots/SERIAL.json (a Root) and roots/SERIAL/ (its files
// that differ from the template), and media/.
package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
)

// Format is the version of the format that this package writes. It reads no other.
const Format = 1

// A Header says what is in a backup.
type Header struct {
	Format    int       `json:"format"`
	Made      time.Time `json:"made"`
	Version   string    `json:"version"` // of the pibootd that made it
	Host      string    `json:"host"`
	StateDir  string    `json:"state_dir"`
	MediaDir  string    `json:"media_dir"`
	Boards    int       `json:"boards"`
	Templates []string  `json:"templates"`
	Media     bool      `json:"media"` // the media share is in it
}

// A Root is a board's root.
type Root struct {
	Serial   pi.Serial          `json:"serial"`
	Name     string             `json:"name"` // of the board
	Template string             `json:"template"`
	Clone    rootfs.CloneMethod `json:"clone"`
	rootfs.Difference
}

// The names of members.
const (
	headerName = "backup.json"
	stateDir   = "state/"
	configName = "config"
	rootsDir   = "roots/"
	mediaDir   = "media/"
	endName    = "end"
)

// The steps that Progress reports; those not counted in bytes are counted in roots.
const (
	ReadStep   = "reading the backup"
	RootsStep  = "packing roots"
	MediaStep  = "packing the media share"
	RemakeStep = "making roots again"
)

// database is the name of the database in the state directory.
const database = "pibootd.db"

// nfsKey seals file handles. The files of roots are others after a restore, so the first start makes
// another key: handles that boards still have are known by that.
const nfsKey = "keys/nfs"

// maxText bounds the members that are read into memory: a list of what a board has removed from
// its root is the longest of them.
const maxText = 64 << 20

// The signatures of a backup that is sealed and of one that is not.
const (
	ageMagic  = "age-encryption.org/v1\n"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// seal returns a writer of a backup to w, for recipients if there are any. It has to be closed.
func seal(w io.Writer, recipients []age.Recipient) (io.WriteCloser, error) {
	var sealed io.WriteCloser
	if len(recipients) > 0 {
		var err error
		if sealed, err = age.Encrypt(w, recipients...); err != nil {
			return nil, fmt.Errorf("backup: sealing: %w", err)
		}
		w = sealed
	}
	packed, err := zstd.NewWriter(w, zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, fmt.Errorf("backup: compressing: %w", err)
	}
	return closers{packed, sealed}, nil
}

// closers is a writer to the first, which closes both.
type closers struct {
	io.WriteCloser
	below io.WriteCloser // nil: none
}

func (c closers) Close() error {
	err := c.WriteCloser.Close()
	if c.below != nil {
		err = errors.Join(err, c.below.Close())
	}
	return err
}

// ErrSealed reports that a backup is sealed and nothing that opens it was given.
var ErrSealed = errors.New("it is sealed; want the passphrase or the identity that opens it")

// unseal returns the tar archive in a backup.
func unseal(r io.Reader, identities []age.Identity) (*zstd.Decoder, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(len(ageMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("backup: reading: %w", err)
	}
	r = in
	switch {
	case string(head) == ageMagic && len(identities) == 0:
		return nil, fmt.Errorf("backup: %w", ErrSealed)
	case string(head) == ageMagic:
		var others *age.NoIdentityMatchError
		r, err = age.Decrypt(in, identities...)
		if errors.As(err, &others) {
			return nil, errors.New("backup: it is sealed for somebody else, or with another passphrase; want the identity or the passphrase that it was sealed with")
		}
		if err != nil {
			return nil, fmt.Errorf("backup: opening the seal: %w", err)
		}
	case !bytes.HasPrefix(head, []byte(zstdMagic)):
		return nil, errors.New("backup: this is no backup of pibootd; want a file that pibootd backup has made")
	}
	unpacked, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(32<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return unpacked, nil
}
