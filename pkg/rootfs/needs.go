package rootfs

import (
	"fmt"
	"os"
	"strings"
)

// globQuote makes a path match itself only.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// needRoot refuses what only root can do, before anything is half done.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("rootfs: %s needs root, to keep owners and device nodes; run it with sudo", what)
	}
	return nil
}
