package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"pibootd/pkg/boot"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

// Export ids. Those of roots are the boards' ids, which count from 1.
const (
	mediaExportID   = math.MaxUint32
	scratchExportID = 1 << 31 // and the board's id
)

// firstScratchUID and the ids after it belong to no user: systemd's table of
// user ids (UIDS-GIDS) has 1879048192 to 2147352575 as unused.
const firstScratchUID = 1_900_000_000

// nobody is the user as whom boards read a media share that root owns, because they
// need not read as root.
const nobody = 65534

func (f *Fleet) mediaPath() string { return f.NFS.MountPath(boot.MediaExport, f.MediaDir) }

// scratchPath is the path that a board's worker mounts to write to.
func (f *Fleet) scratchPath(serial pi.Serial) string {
	return f.NFS.MountPath(boot.ScratchExport(serial), f.scratchDir(serial))
}

func (f *Fleet) scratchDir(serial pi.Serial) string {
	return filepath.Join(f.MediaDir, transcode.ScratchOf(serial.String()))
}

// exportMedia opens the media share to all registered boards, read-only. They read
// it as its owner, or as nobody if root owns it. It is exported by one caller at a
// time, because an export made from an older list of boards would shut out a board
// that was added meanwhile.
func (f *Fleet) exportMedia() error {
	f.exporting <- struct{}{}
	defer func() { <-f.exporting }()
	export := nfs.Export{
		ID: mediaExportID, Path: f.mediaPath(), Dir: f.MediaDir, ReadOnly: true,
		Squash: nfs.AllSquash, AnonUID: nobody, AnonGID: nobody, PrivilegedPort: f.PrivilegedPort,
	}
	owner, err := ownerOf(f.MediaDir)
	if err != nil {
		return fmt.Errorf("fleet: the media share: %w", err)
	}
	if owner.Uid != 0 {
		export.AnonUID, export.AnonGID = owner.Uid, owner.Gid
	}
	for _, board := range f.Registry.All() {
		export.Clients = append(export.Clients, board.IP)
	}
	return f.NFS.Export(export)
}

func ownerOf(dir string) (*syscall.Stat_t, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s has no owner", dir)
	}
	return st, nil
}

// scratchExport is the one directory of the media share that a board may write
// to. No other board may enter it, and its user owns nothing else.
func (f *Fleet) scratchExport(board registry.Pi) nfs.Export {
	uid := uint32(firstScratchUID + board.ID)
	return nfs.Export{
		ID:             uint32(scratchExportID + board.ID),
		Path:           f.scratchPath(board.Serial),
		Dir:            f.scratchDir(board.Serial),
		Clients:        []netip.Addr{board.IP},
		Squash:         nfs.AllSquash,
		AnonUID:        uid,
		AnonGID:        uid,
		MaxBytes:       f.ScratchBytes,
		MaxNames:       maxScratchNames,
		MinFree:        boardsFloor(f.MediaDir),
		PrivilegedPort: f.PrivilegedPort,
	}
}

// maxScratchNames is how many files and directories a scratch may have: those of
// a film of twelve hours in short segments of many renditions, several times.
const maxScratchNames = 500_000

// boardsFloorBytes of a file system, or a fiftieth of a small one, are left free
// by what boards write, for the database and for the other boards.
const boardsFloorBytes = 128 << 20

func boardsFloor(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return boardsFloorBytes
	}
	return min(boardsFloorBytes, int64(fs.Blocks)*int64(fs.Bsize)/50)
}

// exportScratch makes a board's scratch, unless it exists, and exports it to the
// board.
func (f *Fleet) exportScratch(board registry.Pi) error {
	export := f.scratchExport(board)
	if err := makeScratch(export); err != nil {
		return fmt.Errorf("fleet: the scratch of %s: %w", board.Name, err)
	}
	return f.NFS.Export(export)
}

// makeScratch makes the directory of an export, for its user alone, in one that
// only root may enter.
func makeScratch(e nfs.Export) error {
	parent := filepath.Dir(e.Dir)
	if err := makeDir(parent, 0, 0); err != nil {
		return err
	}
	return makeDir(e.Dir, int(e.AnonUID), int(e.AnonGID))
}

func makeDir(dir string, uid, gid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is a %s; want a directory: move it away", dir, share.Kind(info.Mode()))
	}
	return errors.Join(os.Lchown(dir, uid, gid), os.Chmod(dir, 0o700))
}

// removeScratch closes a board's scratch and removes it.
func (f *Fleet) removeScratch(board registry.Pi) error {
	err := f.NFS.Unexport(f.scratchPath(board.Serial))
	scratches, openErr := os.Open(filepath.Dir(f.scratchDir(board.Serial)))
	if errors.Is(openErr, fs.ErrNotExist) {
		return err
	}
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	defer scratches.Close()
	return errors.Join(err, share.RemoveTree(scratches, scratches, board.Serial.String()))
}
