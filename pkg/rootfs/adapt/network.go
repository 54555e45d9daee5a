package adapt

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"pibootd/pkg/rootfs/confine"
)

// The kernel or the initramfs gives an address to the interface that the root is mounted over
// before any program of the root runs. A program that takes this interface down, even to
// configure it again, cuts the board off from its root for good. The interface is called eth0 on
// Raspberry Pi OS and Ubuntu, end0 on Debian.

const (
	managerConfig = `[main]
rc-manager=unmanaged

[keyfile]
unmanaged-devices=interface-name:eth0;interface-name:end0
`
	networkdConfig = `[Match]
Name=eth0 end0

[Network]
DHCP=ipv4
KeepConfiguration=yes
`
	cloudConfig = `network: {config: disabled}
growpart: {mode: "off"}
resize_rootfs: false
ssh_deletekeys: false
preserve_hostname: true
manage_etc_hosts: false
`
	dhcpcdConfig = "\n# The root comes over eth0: leave it alone.\ninterface eth0\nnolink\n"
)

// network keeps the network managers in a root off the interface that the root is mounted over.
func (a *adapter) network() error {
	failed := []error{a.ifupdown()}
	if confine.Exists(a.root, "etc/NetworkManager") {
		failed = append(failed,
			a.put("etc/NetworkManager/conf.d/90-pibootd.conf", managerConfig, "added: NetworkManager leaves eth0 alone, the root comes over it"),
			a.kernelResolver())
	}
	if confine.Exists(a.root, "etc/systemd/system/multi-user.target.wants/systemd-networkd.service") || confine.Exists(a.root, "etc/netplan") {
		// 05 sorts before the files that netplan generates, 10-netplan-*.
		failed = append(failed, a.put("etc/systemd/network/05-pibootd.network", networkdConfig, "added: systemd-networkd never takes eth0's address away, the root comes over it"))
	}
	if confine.Exists(a.root, "etc/cloud/cloud.cfg") {
		failed = append(failed, a.put("etc/cloud/cloud.cfg.d/99-pibootd.cfg", cloudConfig, "added: cloud-init leaves network, disk, host name and ssh keys alone"))
	}
	failed = append(failed, a.edit("etc/dhcpcd.conf", "dhcpcd leaves eth0 up, the root comes over it", func(text string) string {
		if strings.Contains(text, dhcpcdConfig) {
			return text
		}
		return text + dhcpcdConfig
	}))
	return errors.Join(failed...)
}

// kernelResolver makes the root use the name servers that the kernel's DHCP client found, which
// NetworkManager would otherwise have written to resolv.conf.
func (a *adapter) kernelResolver() error {
	const name, target = "etc/resolv.conf", "/proc/net/pnp"
	info, err := a.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil // a link to a file that another program maintains
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := confine.PutSymlink(a.root, name, target); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a.note(name, "links to "+target+", the name servers of the kernel's DHCP")
	return nil
}

// startsInterface matches the lines of interfaces(5) that bring an interface up at boot.
var startsInterface = regexp.MustCompile(`^\s*(auto|allow-\w+)\s.*\b(eth0|end0)\b`)

func (a *adapter) ifupdown() error {
	files := confine.Glob(a.root, "etc/network/interfaces.d/*")
	var failed []error
	for _, name := range append([]string{"etc/network/interfaces"}, files...) {
		failed = append(failed, a.edit(name, "commented out what sets eth0 up at boot, the root comes over it", func(text string) string {
			var out strings.Builder
			for line := range strings.Lines(text) {
				if startsInterface.MatchString(line) {
					out.WriteString("# not on NFS: ")
				}
				out.WriteString(line)
			}
			return out.String()
		}))
	}
	return errors.Join(failed...)
}
