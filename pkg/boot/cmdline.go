package boot

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pibootd/images"
	"pibootd/pkg/bootconfig"
	"pibootd/pkg/config"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// CommandLine returns the kernel command line of a board: base, the root's own
// cmdline.txt, with the NFS root and the worker's settings in place of its own. The
// result is one line, as the firmware wants it. initramfs is whether the board loads one.
func (s Server) CommandLine(base string, board registry.Pi, initramfs bool) string {
	args := slices.DeleteFunc(strings.Fields(bootconfig.CommandLine(base)), func(arg string) bool {
		key, value, _ := strings.Cut(arg, "=")
		// Raspberry Pi OS images grow their SD card's partition by init=.
		return slices.Contains(config.OwnArgs, key) || key == "init" && strings.Contains(value, "resize") ||
			s.Netconsole != nil && strings.HasSuffix(key, "netconsole")
	})
	mode := "rw"
	if board.Settings.Volatile {
		mode = "ro"
		args = append(args, "init=/"+images.VolatileInitFile)
	}
	args = append(args, "root=/dev/nfs", "nfsroot="+s.nfsroot(board))
	args = append(args, s.address(board, initramfs)...)
	args = append(args, mode, "rootwait")
	if board.Settings.MuxID != 0 {
		args = append(args, fmt.Sprintf("muxid=%d", board.Settings.MuxID))
	}
	if board.Settings.HWDecode {
		args = append(args, "muxhwdec=1")
	}
	args = append(args, s.logs(board)...)
	args = append(args, s.Args...)
	args = append(args, board.Settings.Args...)
	return strings.Join(unique(args), " ") + "\n"
}

// servedAt is the argument that sets the time of a board, which has no clock of its
// own: systemd reads it (kernel-command-line(7)), and so does the minimal template.
func servedAt(now time.Time, commandLine string) string {
	return fmt.Sprintf("%s systemd.clock_usec=%d\n", strings.TrimSuffix(commandLine, "\n"), now.Unix()*1e6)
}

// address returns the arguments that give a board its address, in the form of the
// kernel's Documentation/admin-guide/nfs/nfsroot.rst:
//
//	ip=client:server:gateway:netmask:hostname:device:autoconf:dns0:dns1
//
// The device is the one that has booted. The kernel can find it by name alone, and
// calls the only adapter of a Pi eth0. An initramfs has renamed it perhaps, but finds it
// by its Ethernet address in BOOTIF, if ip= names no device.
func (s Server) address(board registry.Pi, initramfs bool) []string {
	n, ok := s.Network(board.IP)
	if !ok {
		return []string{"ip=dhcp"}
	}
	device, bootIF := "eth0", []string(nil)
	if initramfs {
		device, bootIF = "", []string{"BOOTIF=01-" + board.MAC.Dashed()}
	}
	fields := []string{board.IP.String(), s.Addr.String(), orEmpty(n.Router), netmask(n.Prefix), board.Name, device, "off"}
	for _, server := range n.DNS[:min(len(n.DNS), maxDNS)] {
		fields = append(fields, server.String())
	}
	return append([]string{"ip=" + strings.Join(fields, ":")}, bootIF...)
}

// netconsolePort is from where kernels send their log, by convention.
const netconsolePort = 6665

// syslogPort is where syslog goes that names no port, RFC 5426 §3.3.
const syslogPort = 514

// logs returns the arguments that have a board send its logs. netconsole= is read by the
// kernel, if it is no module there, and by initramfs-tools and pibootd's initramfs;
// netconsole.netconsole= by modprobe, which systemd runs because of modules_load=. The plus
// asks for records with their level.
func (s Server) logs(board registry.Pi) []string {
	var args []string
	if s.SyslogPort != 0 && s.SyslogPort != syslogPort {
		args = append(args, fmt.Sprintf("pibootd.syslog=%d", s.SyslogPort))
	}
	n := s.Netconsole
	if n == nil || !n.Network.Contains(board.IP) { // a router's Ethernet address is not known
		return args
	}
	to := ""
	if mac := n.MAC(); mac != (pi.MAC{}) {
		to = mac.String() // else to all
	}
	target := fmt.Sprintf("+%d@%s/%s,%d@%s/%s", netconsolePort, board.IP, n.Device, n.Port, s.Addr, to)
	return append(args, "netconsole="+target, "netconsole.netconsole="+target, "modules_load=netconsole")
}

// maxDNS is how many name servers ip= has room for.
const maxDNS = 2

// Network returns the one of Static that an address is in.
func (s Server) Network(addr netip.Addr) (Network, bool) {
	for _, n := range s.Static {
		if n.Prefix.Contains(addr) {
			return n, true
		}
	}
	return Network{}, false
}

func orEmpty(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

func netmask(network netip.Prefix) string {
	return net.IP(net.CIDRMask(network.Bits(), network.Addr().BitLen())).String()
}

// nfsroot returns the value of nfsroot=. Ports are named only where they have
// to be: klibc's nfsmount, which the initramfs of Debian and Raspberry Pi OS
// uses, refuses mountport= and asks the portmapper instead. It also waits 0.7 s
// alone for a reply; timeo and retrans are what the kernel takes for TCP otherwise.
func (s Server) nfsroot(board registry.Pi) string {
	options := "vers=3,tcp,rsize=1048576,wsize=1048576,timeo=600,retrans=2"
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
