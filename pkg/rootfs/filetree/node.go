package filetree

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/confine"
)

// A node holds the attributes of a file system entry, except its name and content.
type node struct {
	mode     uint32 // type and permissions, as in st_mode
	uid, gid int
	device   uint64 // of a device node
	target   string // of a symbolic link, verbatim
	modified unix.Timespec
	xattrs   map[string]string
}

func (n node) kind() uint32 { return n.mode & unix.S_IFMT }

// paxXattr prefixes the PAX records in which a tar archive stores extended attributes.
const paxXattr = "SCHILY.xattr."

// tarKinds are the member types that become nodes. Hard links share the node of their target.
var tarKinds = map[byte]uint32{
	tar.TypeReg:       unix.S_IFREG,
	tar.TypeGNUSparse: unix.S_IFREG,
	tar.TypeDir:       unix.S_IFDIR,
	tar.TypeSymlink:   unix.S_IFLNK,
	tar.TypeChar:      unix.S_IFCHR,
	tar.TypeBlock:     unix.S_IFBLK,
	tar.TypeFifo:      unix.S_IFIFO,
}

// nodeOfTar reads the node from a member's header.
func nodeOfTar(header *tar.Header) (node, error) {
	kind, ok := tarKinds[header.Typeflag]
	if !ok {
		return node{}, fmt.Errorf("member %q is of type %q; want a file, directory, link, device or fifo", header.Name, header.Typeflag)
	}
	modified, err := unix.TimeToTimespec(header.ModTime)
	if err != nil {
		return node{}, fmt.Errorf("member %q: time %v: %w", header.Name, header.ModTime, err)
	}
	n := node{
		mode:     kind | uint32(header.Mode&0o7777),
		uid:      header.Uid,
		gid:      header.Gid,
		device:   unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor)),
		target:   header.Linkname,
		modified: modified,
	}
	for record, value := range header.PAXRecords {
		if name, ok := strings.CutPrefix(record, paxXattr); ok {
			n.setXattr(name, value)
		}
	}
	return n, nil
}

// nodeAt reads the node of the entry name of the open directory dir.
func nodeAt(dir *os.File, name string, stat *unix.Stat_t) (node, error) {
	n := node{
		mode:     stat.Mode,
		uid:      int(stat.Uid),
		gid:      int(stat.Gid),
		device:   uint64(stat.Rdev),
		modified: stat.Mtim,
	}
	path := confine.EntryPath(dir, name)
	if n.kind() == unix.S_IFLNK {
		target, err := os.Readlink(path)
		if err != nil {
			return node{}, err
		}
		n.target = target
	}
	return n, n.readXattrs(path)
}

// nodeOfFile reads the node of the open regular file name of the open directory dir. It compares
// the file with looked, because a board can replace the file in the meantime.
func nodeOfFile(file, dir *os.File, name string, looked *unix.Stat_t) (node, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return node{}, err
	}
	if stat.Ino != looked.Ino || stat.Dev != looked.Dev {
		return node{}, errors.New("it became another file while it was copied; try again")
	}
	n := node{mode: stat.Mode, uid: int(stat.Uid), gid: int(stat.Gid), modified: stat.Mtim}
	// Few files have attributes, and asking the open file is the fastest way to find out.
	if size, err := unix.Flistxattr(int(file.Fd()), nil); err == nil && size == 0 {
		return n, nil
	}
	return n, n.readXattrs(confine.EntryPath(dir, name))
}

// maxXattrBytes is Linux's limit for a list of attributes and for a value.
const maxXattrBytes = 64 << 10

func (n *node) readXattrs(path string) error {
	size, err := unix.Llistxattr(path, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil
	}
	list := make([]byte, maxXattrBytes)
	size, err = unix.Llistxattr(path, list)
	if err != nil {
		return fmt.Errorf("listing extended attributes: %w", err)
	}
	if size == 0 { // an overlay counts its own attributes in the size, but omits them from the list
		return nil
	}
	value := make([]byte, maxXattrBytes)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		length, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return fmt.Errorf("reading extended attribute %q: %w", name, err)
		}
		n.setXattr(name, string(value[:length]))
	}
	return nil
}

// setXattr records an attribute of the file. It ignores SELinux labels, which belong to the
// policy of the machine that the file was on, and the attributes of overlays, including
// pibootd's, which are valid only where they were made.
func (n *node) setXattr(name, value string) {
	if name == "" || name == "security.selinux" || name == OverlayXattr || strings.HasPrefix(name, "trusted.overlay.") {
		return
	}
	if n.xattrs == nil {
		n.xattrs = make(map[string]string)
	}
	n.xattrs[name] = value
}

// make creates the entry. finish then sets its owner and other attributes. make keeps an
// existing directory and replaces anything else.
func (n node) make(dir *os.File, name string) error {
	err := n.tryMake(dir, name)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if n.kind() == unix.S_IFDIR {
		var stat unix.Stat_t
		// A symbolic link to a directory of the same tree counts as that directory, as in /lib
		// -> usr/lib.
		if err := unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
		return fmt.Errorf("replacing %q: %w", name, err)
	}
	return n.tryMake(dir, name)
}

func (n node) tryMake(dir *os.File, name string) error {
	at := int(dir.Fd())
	switch n.kind() {
	case unix.S_IFDIR:
		return unix.Mkdirat(at, name, 0o700)
	case unix.S_IFLNK:
		return unix.Symlinkat(n.target, at, name)
	default:
		return unix.Mknodat(at, name, n.mode&unix.S_IFMT|0o600, int(n.device))
	}
}

// finish sets owner, permissions, extended attributes and time. The order matters, because a new
// owner clears set-user-ID bits and file capabilities.
func (n node) finish(dir *os.File, name string) error {
	at := int(dir.Fd())
	if err := unix.Fchownat(at, name, n.uid, n.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner %d:%d: %w", n.uid, n.gid, err)
	}
	if n.kind() != unix.S_IFLNK {
		if err := unix.Fchmodat(at, name, n.mode&0o7777, 0); err != nil {
			return fmt.Errorf("mode %o: %w", n.mode&0o7777, err)
		}
	}
	path := confine.EntryPath(dir, name)
	for attr, value := range n.xattrs {
		if err := unix.Lsetxattr(path, attr, []byte(value), 0); err != nil {
			return fmt.Errorf("extended attribute %q: %w", attr, err)
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, n.modified}
	if err := unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

// finishFile is finish for the open regular file name of dir. It changes only what differs,
// because every change costs the file system a transaction.
func (n node) finishFile(file, dir *os.File, name string) error {
	var is unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &is); err != nil {
		return err
	}
	if int(is.Uid) != n.uid || int(is.Gid) != n.gid {
		if err := file.Chown(n.uid, n.gid); err != nil {
			return err
		}
		is.Mode &= 0o777
	}
	if is.Mode&0o7777 != n.mode&0o7777 {
		if err := unix.Fchmod(int(file.Fd()), n.mode&0o7777); err != nil {
			return fmt.Errorf("mode %o: %w", n.mode&0o7777, err)
		}
	}
	for attr, value := range n.xattrs {
		if err := unix.Fsetxattr(int(file.Fd()), attr, []byte(value), 0); err != nil {
			return fmt.Errorf("extended attribute %q: %w", attr, err)
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, n.modified}
	if err := unix.UtimesNanoAt(int(dir.Fd()), name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

// CopyAttributes copies the owner, mode, attributes and times of one directory to another.
func CopyAttributes(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Open(to)
	if err != nil {
		return err
	}
	defer target.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &stat); err != nil {
		return err
	}
	self, err := nodeAt(source, ".", &stat)
	if err != nil {
		return err
	}
	return self.finish(target, ".")
}

// OverlayXattr is the extended attribute that makes a directory an overlay root; its value names
// the template version. No board can set it, because NFSv3 has no extended attributes.
const OverlayXattr = "trusted.pibootd.overlay"
