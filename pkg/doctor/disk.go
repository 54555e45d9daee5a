package doctor

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// With less free space than this, cloning a root may fail, or boards cannot write.
const (
	littleSpace = 2 << 30
	noSpace     = 256 << 20
)

// unfitForRoots are the file systems that cannot hold roots, by their statfs(2) type.
var unfitForRoots = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "NFS",
	unix.SMB2_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC:  "SMB",
	unix.MSDOS_SUPER_MAGIC: "FAT",
	unix.EXFAT_SUPER_MAGIC: "exFAT",
	unix.FUSE_SUPER_MAGIC:  "FUSE",
	0x5346544e:             "NTFS",
}

// Disks examines the file systems with the roots and the videos.
func Disks(stateDir, mediaDir string) []Finding {
	found := []Finding{disk("state directory", stateDir)}
	if f, exposed := RootsMount(stateDir); exposed {
		found = append(found, f)
	}
	var state, media unix.Statfs_t
	if unix.Statfs(stateDir, &state) == nil && unix.Statfs(mediaDir, &media) == nil && state.Fsid == media.Fsid {
		return found // both are on one file system
	}
	return append(found, disk("media share", mediaDir))
}

// RootsMount reports how the roots can be mounted more safely; exposed is whether
// they can. Then everything that boards put into their roots, including devices and
// programs with set-user-ID bits, is only a plain file on this machine.
func RootsMount(stateDir string) (f Finding, exposed bool) {
	dir := filepath.Join(stateDir, "roots")
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return Finding{}, false // there are no roots yet, or disk reports the error
	}
	var missing []string
	for _, option := range []struct {
		name string
		flag int64
	}{{"nodev", unix.ST_NODEV}, {"nosuid", unix.ST_NOSUID}, {"noexec", unix.ST_NOEXEC}} {
		if int64(fs.Flags)&option.flag == 0 {
			missing = append(missing, option.name)
		}
	}
	return Finding{
		Subject: "disk", Level: OK, Text: fmt.Sprintf("%s is mounted without %s; only its mode 0700 keeps users of this machine from what boards put there", dir, strings.Join(missing, ",")),
		Todo: fmt.Sprintf("boards do not notice these in /etc/fstab: %s %s none bind,nodev,nosuid,noexec 0 0", dir, dir),
	}, len(missing) > 0
}

func disk(what, dir string) Finding {
	f := Finding{Subject: "disk", Level: Problem}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		f.Text = fmt.Sprintf("%s %s: %v", what, dir, err)
		return f
	}
	free := fs.Bavail * uint64(fs.Bsize)
	text := fmt.Sprintf("%s %s has %.1f GB free", what, dir, float64(free)/1e9)
	switch name := unfitForRoots[uint32(fs.Type)]; {
	case name != "":
		f.Text = fmt.Sprintf("%s %s is on %s, which cannot hold the files of a Linux root as they are", what, dir, name)
		f.Todo = "move it to ext4, xfs or btrfs"
	case fs.Flags&unix.ST_RDONLY != 0:
		f.Text, f.Todo = fmt.Sprintf("%s %s is read-only", what, dir), "mount it read-write; dmesg may say why it is not"
	case free < noSpace:
		f.Text, f.Todo = text, "boards will fail to write: make room"
	case free < littleSpace:
		f.Level, f.Text, f.Todo = Warning, text, "make room before you add boards or videos"
	default:
		f.Level, f.Text = OK, text
	}
	return f
}
