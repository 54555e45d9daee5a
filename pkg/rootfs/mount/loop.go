// Package mount mounts file systems where only this process sees them.
package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLoopTries is how often attach asks for a free loop device that another process
// then takes first.
const maxLoopTries = 64

// attach makes size bytes of file, from start, a read-only block device. The kernel
// removes the device when its last descriptor is closed, also if this process is
// killed.
func attach(file *os.File, start, size int64) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop device: %w; want the kernel module loop (modprobe loop), to run as root, and in a container that device", err)
	}
	defer control.Close()
	for range maxLoopTries {
		device, err := attachFree(control, file, start, size)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return nil, fmt.Errorf("loop device: %d were taken by others before they could be used", maxLoopTries)
}

func attachFree(control, file *os.File, start, size int64) (*os.File, error) {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("loop device: %w", err)
	}
	device, err := openLoop(number)
	if err != nil {
		return nil, fmt.Errorf("loop device: %w", err)
	}
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{
		Offset:    uint64(start),
		Sizelimit: uint64(size),
		Flags:     unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR,
	}}
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return nil, errors.Join(fmt.Errorf("loop device: %w", err), device.Close())
	}
	return device, nil
}

// loopMajor is the number of block devices that are loop devices
// (Documentation/admin-guide/devices.txt).
const loopMajor = 7

// openLoop opens a loop device. In a container nobody has made the node of a
// device that is new.
func openLoop(number int) (*os.File, error) {
	name := "/dev/loop" + strconv.Itoa(number)
	device, err := os.OpenFile(name, os.O_RDONLY, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return device, err
	}
	if err := unix.Mknod(name, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(number)))); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("mknod %s: %w", name, err)
	}
	return os.OpenFile(name, os.O_RDONLY, 0)
}

// Ext4 mounts the ext4 file system in size bytes of file, from start, read-only and
// without replaying its journal. It returns the top directory; closing that
// unmounts the file system, as does the end of this process.
func Ext4(file *os.File, start, size int64) (*os.File, error) {
	device, err := attach(file, start, size)
	if err != nil {
		return nil, err
	}
	top, err := mountDetached(device.Name())
	return top, errors.Join(err, device.Close())
}

func mountDetached(device string) (*os.File, error) {
	context, err := unix.Fsopen("ext4", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mounting ext4: %w; want Linux 5.8 or later, with ext4", err)
	}
	messages := os.NewFile(uintptr(context), "fsopen")
	defer messages.Close()
	err = errors.Join(
		unix.FsconfigSetString(context, "source", device),
		unix.FsconfigSetFlag(context, "ro"),
		unix.FsconfigSetFlag(context, "noload"),
	)
	if err == nil {
		err = unix.FsconfigCreate(context)
	}
	if err != nil {
		return nil, fmt.Errorf("mounting its ext4: %w%s: it is damaged, or too new for this kernel", err, KernelMessage(context))
	}
	const flags = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, flags)
	if err != nil {
		return nil, fmt.Errorf("mounting its ext4: %w", err)
	}
	return os.NewFile(uintptr(mount), "mount"), nil
}

// KernelMessage reads the kernel's last message about a failed mount from a
// descriptor of fsopen(2).
func KernelMessage(context int) string {
	said := ""
	text := make([]byte, 1024)
	for {
		n, err := unix.Read(context, text)
		if err != nil || n <= 0 {
			return said
		}
		said = fmt.Sprintf(" (%q)", strings.TrimSpace(string(text[:n])))
	}
}
