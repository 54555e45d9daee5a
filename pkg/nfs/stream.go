package nfs

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// streamSuffix is the suffix of a stream's directory. The rest of the name is that of the file
// beside it: the stream of film.mp4 is in film.mp4.hls.
const streamSuffix = ".hls"

// errNotOwn reports that only the owner of an object may change it, because the export has
// StreamDirs.
var errNotOwn = fmt.Errorf("it is not what the export's clients made: %w", statusAcces)

// checkOwn returns errNotOwn if clients of the export may change only what they made, and o does
// not belong to the caller. What they made is below a stream's directory, because they cannot
// create objects elsewhere, move objects of others into it, or give their own away.
func (o *object) checkOwn() error {
	if o.tree.export.StreamDirs && o.attr.Uid != o.caller.uid {
		return errNotOwn
	}
	return nil
}

// mayHoldStream returns an error if the caller may not create a stream's directory of that name
// in the directory o, which belongs to somebody else.
func (o *object) mayHoldStream(name string) error {
	source, ok := strings.CutSuffix(name, streamSuffix)
	if !ok || checkNewName(source) != nil {
		return errNotOwn
	}
	if !o.is(unix.S_IFDIR) {
		return statusNotDir
	}
	if err := o.as(func() error { return o.access(unix.X_OK) }); err != nil {
		return err
	}
	if err := o.checkNoStream(); err != nil {
		return err
	}
	var st unix.Stat_t
	err := unix.Fstatat(o.fd, source, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errNotOwn
	}
	return nil
}

// checkNoStream returns errNotOwn if the directory o is a stream's directory or below one,
// because the files of somebody else's stream have no streams of their own. The path is relative
// to the tree's private mount, so directories above the export do not count.
func (o *object) checkNoStream() error {
	at, err := os.Readlink(o.procPath())
	if err != nil {
		return err
	}
	for part := range strings.SplitSeq(at, "/") {
		if strings.HasSuffix(part, streamSuffix) {
			return errNotOwn
		}
	}
	return nil
}

// mayDropStream returns an error if the caller may not remove the stream's directory of that
// name from the directory o, which belongs to somebody else. The file that was beside it may
// already be deleted.
func (o *object) mayDropStream(name string) error {
	if !strings.HasSuffix(name, streamSuffix) {
		return errNotOwn
	}
	stream, err := o.lookup(name)
	if err != nil {
		return err
	}
	defer stream.close()
	if !stream.is(unix.S_IFDIR) {
		return errNotOwn
	}
	return stream.checkOwn()
}

// mayHoldLinks returns an error if the directory o may contain only files and directories of its
// own, and so no links.
func (o *object) mayHoldLinks() error {
	if o.tree.export.StreamDirs {
		return statusPerm
	}
	return nil
}

// anywhere runs f, which creates or removes a directory, with i's ids and without a umask. The
// thread can write to every directory, so the caller must check that i may do what f does.
func (i identity) anywhere(f func() error) error {
	return i.create(func() error {
		if err := overrideModes(); err != nil {
			return err
		}
		return f()
	})
}

// overrideModes gives the calling thread, which must end afterwards, access to every directory.
// What the thread creates there still belongs to its user.
func overrideModes() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return fmt.Errorf("asking for the capabilities of a thread: %w", err)
	}
	caps[0].Effective |= 1 << unix.CAP_DAC_OVERRIDE
	if err := unix.Capset(&head, &caps[0]); err != nil {
		return fmt.Errorf("giving a thread CAP_DAC_OVERRIDE: %w", err)
	}
	return nil
}
