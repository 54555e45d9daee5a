package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// OwnArgs are the kernel arguments that pibootd writes itself, or that make no
// sense on a root that is mounted over NFS.
var OwnArgs = []string{"root", "rootfstype", "rootflags", "nfsroot", "ip", "BOOTIF", "ro", "rw", "fsck.repair", "muxid", "muxhwdec"}

// CheckArg reports whether arg can stand on the kernel command line as it is
// and leaves alone what pibootd puts there.
func CheckArg(arg string) error {
	unusual := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\'' }
	key, _, _ := strings.Cut(arg, "=")
	switch {
	case key == "" || strings.ContainsFunc(arg, unusual):
		return fmt.Errorf("kernel argument %q; want key or key=value, without white space and quotes", arg)
	case key == "--": // all behind it would go to init instead of the kernel
		return fmt.Errorf("kernel argument %q ends the kernel's arguments; leave it out", arg)
	case key == "muxid" || key == "muxhwdec":
		return fmt.Errorf("kernel argument %q is pibootd's own; use --%s of add-pi or edit-pi", arg, key)
	case key == "init" || slices.Contains(OwnArgs, key):
		return fmt.Errorf("kernel argument %q is pibootd's own; leave out %s", arg, ownArgsText())
	}
	return nil
}

func ownArgsText() string { return strings.Join(OwnArgs, ", ") + ", init" }

type kernelArgs struct{ to *[]string }

// maxArgsBytes bounds the arguments. 32-bit kernels take 1024 bytes of command
// line; a board's own arguments and pibootd's need room too.
const maxArgsBytes = 256

func (v kernelArgs) read(n *unstable.Node) bool {
	list, ok := stringsOf(n)
	bad := func(arg string) bool { return CheckArg(arg) != nil }
	if !ok || len(strings.Join(list, " ")) > maxArgsBytes || slices.ContainsFunc(list, bad) {
		return false
	}
	*v.to = list
	return true
}

func (v kernelArgs) want() string {
	return fmt.Sprintf(`a list of "key" or "key=value" without white space and quotes, at most %d bytes in all, no --, none of %s, which are pibootd's own`, maxArgsBytes, ownArgsText())
}
func (v kernelArgs) text() string { return quoteList(*v.to) }
