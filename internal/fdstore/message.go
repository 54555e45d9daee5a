package fdstore

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of what a Keeper keeps.
const (
	maxKept    = 64
	maxName    = 255 // bytes
	maxMessage = 4096
)

// A message is what a program tells its Keeper.
type message struct {
	text  string
	files []int // descriptors that came with it
	pid   int   // of the sender, as the kernel says
}

// barrier is a Keeper's message to itself: what was sent before it has been received.
const barrier = "BARRIER=1"

// receive receives messages until the socket is closed.
func (k *Keeper) receive(done <-chan struct{}) {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxKept))
	for {
		n, length, _, _, err := k.conn.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		m := parseRights(rights[:length])
		m.text = string(text[:n])
		select {
		case k.messages <- m:
		case <-done:
			m.close()
			return
		}
	}
}

// parseRights reads who has sent a message, and the descriptors that came with it.
func parseRights(rights []byte) (m message) {
	parts, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return m
	}
	for _, part := range parts {
		if files, err := unix.ParseUnixRights(&part); err == nil {
			m.files = append(m.files, files...)
		}
		if sender, err := unix.ParseUnixCredentials(&part); err == nil {
			m.pid = int(sender.Pid)
		}
	}
	return m
}

// close closes descriptors that came with a message and are not kept.
func (m message) close() {
	for _, fd := range m.files {
		_ = unix.Close(fd)
	}
}

// drain handles all messages that have been sent up to now.
func (k *Keeper) drain() {
	go (&Store{manager: k.conn.LocalAddr().String()}).send(barrier, nil) // a full socket makes it wait until some are handled
	for m := range k.messages {
		if m.pid == os.Getpid() && m.text == barrier {
			return
		}
		k.handle(m)
	}
}

// handle does what the program asks for; it alone may. Whatever else systemd understands is
// ignored.
func (k *Keeper) handle(m message) {
	lines := strings.Split(m.text, "\n")
	name, named := "", false
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name, named = value, validName(value)
		}
	}
	switch {
	case m.pid != k.child || !named:
		m.close()
	case slices.Contains(lines, "FDSTOREREMOVE=1"):
		m.close()
		k.remove(name)
	case slices.Contains(lines, "FDSTORE=1") && len(k.files)+len(m.files) <= maxKept:
		for _, fd := range m.files {
			k.files = append(k.files, os.NewFile(uintptr(fd), name))
		}
	default:
		m.close()
	}
}

// validName reports whether a descriptor can have this name.
func validName(name string) bool {
	control := func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, control)
}

// remove forgets what is kept under a name.
func (k *Keeper) remove(name string) {
	k.files = slices.DeleteFunc(k.files, func(file *os.File) bool {
		if file.Name() == name {
			_ = file.Close()
		}
		return file.Name() == name
	})
}
