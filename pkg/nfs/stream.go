package nfs

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// streamSuffix ends the name of a stream's directory, which else is that of the
// file beside it: the stream of film.mp4 is in film.mp4.hls.
const streamSuffix = ".hls"

// errNotOwn says that an object of an export with StreamDirs is nobody's but the
// owner's to change.
var errNotOwn = fmt.Errorf("it is not what the export's clients made: %w", statusAcces)

// checkOwn returns errNotOwn where clients may change only what they made, and
// o is not theirs. What they made is below a stream's directory: they can make
// nothing elsewhere, take nothing of others' in, and give nothing away.
func (o *object) checkOwn() error {
	if o.tree.export.StreamDirs && o.attr.Uid != o.caller.uid {
		return errNotOwn
	}
	return nil
}

// mayHoldStream returns why the caller may not make a stream's directory of
// that name in the directory o, which is not the caller's.
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

// checkNoStream returns errNotOwn if the directory o is a stream's, or below one:
// the files of a stream that is somebody else's have none of their own. The path
// is that in the tree's private mount, so what is above the export does not count.
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

// mayDropStream returns why the caller may not remove the stream's directory
// of that name from the directory o, which is not the caller's. The file that
// was beside it may be gone.
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

// mayHoldLinks returns why the directory o may hold nothing but files and
// directories of its own.
func (o *object) mayHoldLinks() error {
	if o.tree.export.StreamDirs {
		return statusPerm
	}
	return nil
}

// anywhere runs f, which makes or removes a directory, with i's ids and without
// a umask, in whatever directory that is: the caller has checked that f may.
func (i identity) anywhere(f func() error) error {
	return i.create(func() error {
		if err := overrideModes(); err != nil {
			return err
		}
		return f()
	})
}

// overrideModes has the calling thread, which is not to live on, reach every
// directory. What it makes there is its user's nevertheless.
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
