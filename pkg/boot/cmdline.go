package boot

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pibootd/images"
	"pibootd/pkg/bootconfig"
	"pibootd/pkg/config"
	"pibootd/pkg/registry"
)

// CommandLine returns the kernel command line of a board: base, the root's own
// cmdline.txt, with the NFS root and the worker's settings in place of its own. The
// result is one line, as the firmware wants it.
func (s Server) CommandLine(base string, board registry.Pi) string {
	args := slices.DeleteFunc(strings.Fields(bootconfig.CommandLine(base)), func(arg string) bool {
		key, value, _ := strings.Cut(arg, "=")
		// Raspberry Pi OS images grow their SD card's partition by init=.
		return slices.Contains(config.OwnArgs, key) || key == "init" && strings.Contains(value, "resize")
	})
	mode := "rw"
	if board.Settings.Volatile {
		mode = "ro"
		args = append(args, "init=/"+images.VolatileInitFile)
	}
	args = append(args, "root=/dev/nfs", "nfsroot="+s.nfsroot(board), "ip=dhcp", mode, "rootwait")
	if board.Settings.MuxID != 0 {
		args = append(args, fmt.Sprintf("muxid=%d", board.Settings.MuxID))
	}
	if board.Settings.HWDecode {
		args = append(args, "muxhwdec=1")
	}
	args = append(args, s.Args...)
	args = append(args, board.Settings.Args...)
	return strings.Join(unique(args), " ") + "\n"
}

// servedAt is the argument that sets the time of a board, which has no clock of its
// own: systemd reads it (kernel-command-line(7)), and so does the minimal template.
func servedAt(now time.Time, commandLine string) string {
	return fmt.Sprintf("%s systemd.clock_usec=%d\n", strings.TrimSuffix(commandLine, "\n"), now.Unix()*1e6)
}

// nfsroot returns the value of nfsroot=. Ports are named only where they have
// to be: klibc's nfsmount, which the initramfs of Debian and Raspberry Pi OS
// uses, refuses mountport= and asks the portmapper instead.
func (s Server) nfsroot(board registry.Pi) string {
	options := "vers=3,tcp,rsize=1048576,wsize=1048576"
	if s.NFSPort != 0 && (s.NFSPort != nfsPort || s.PortmapPort != portmapPort) {
		options += fmt.Sprintf(",port=%d,mountport=%d", s.NFSPort, s.NFSPort)
	}
	path := RootExport
	if s.RootPath != nil {
		path = s.RootPath
	}
	return fmt.Sprintf("%s:%s,%s", s.Addr, path(board.Serial), options)
}

// unique drops repeated arguments and keeps the last of each, because the
// kernel lets the later one win.
func unique(args []string) []string {
	var kept []string
	for i, arg := range args {
		if !slices.Contains(args[i+1:], arg) {
			kept = append(kept, arg)
		}
	}
	return kept
}

// ConfigTxt returns a board's config.txt: base, the root's own, and after it
// what pibootd lays over it. The firmware lets later lines win, and [all] ends
// whatever filter base ended in. include reads the files that base includes.
func (s Server) ConfigTxt(base string, include bootconfig.Include, board registry.Pi) string {
	sets := func(key string) bool { return len(bootconfig.Values([]byte(base), key, include)) > 0 }
	gpuMem := board.Settings.GPUMem
	if gpuMem == 0 {
		gpuMem = s.GPUMem
	}
	if base != "" && !strings.HasSuffix(base, "\n") {
		base += "\n"
	}
	var own strings.Builder
	fmt.Fprintf(&own, "\n[all]\n# by pibootd, for %s:\ngpu_mem=%d\n", board.Name, gpuMem)
	for _, key := range []string{"gpu_mem_256", "gpu_mem_512", "gpu_mem_1024"} {
		if sets(key) { // they are stronger than gpu_mem, wherever they stand
			fmt.Fprintf(&own, "%s=%d\n", key, gpuMem)
		}
	}
	if sets("cmdline") { // another file would not have the board's root
		own.WriteString("cmdline=cmdline.txt\n")
	}
	for _, line := range board.Settings.Config {
		own.WriteString(line + "\n")
	}
	return base + own.String()
}
