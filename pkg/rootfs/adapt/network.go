package adapt

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"pibootd/pkg/rootfs/confine"
)

// The kernel or the initramfs gives an address to the interface that the root is mounted over
// before any program of the root runs. A program that takes this interface down, even to
// configure it again, cuts the board off from its root for good; one that asks for an address may
// be given another one by another server. The interface is called eth0 on Raspberry Pi OS and
// Ubuntu, end0 on Debian. What systemd-networkd does is in images/overlay.

const (
	managerConfig = `[main]
rc-manager=unmanaged

[keyfile]
unmanaged-devices=interface-name:eth0;interface-name:end0
`
	cloudConfig = `network: {config: disabled}
growpart: {mode: "off"}
resize_rootfs: false
ssh_deletekeys: false
preserve_hostname: true
manage_etc_hosts: false
`
	dhcpcdConfig = "\n# The root comes over eth0: leave it alone.\ndenyinterfaces eth0 end0\n"
)

// network keeps the network managers in a root off the interface that the root is mounted over.
func (a *adapter) network() error {
	failed := []error{a.ifupdown()}
	if confine.Exists(a.root, "etc/NetworkManager") {
		failed = append(failed,
			a.put("etc/NetworkManager/conf.d/90-pibootd.conf", managerConfig, "added: NetworkManager leaves eth0 alone, the root comes over it"),
			a.kernelResolver())
	}
	if confine.Exists(a.root, "etc/cloud/cloud.cfg") {
		failed = append(failed, a.put("etc/cloud/cloud.cfg.d/99-pibootd.cfg", cloudConfig, "added: cloud-init leaves network, disk, host name and ssh keys alone"))
	}
	if confine.Exists(a.root, dhcpcdFile) {
		failed = append(failed, a.dhcpcd(), a.kernelResolver())
	}
	return errors.Join(failed...)
}

const dhcpcdFile = "etc/dhcpcd.conf"

// formerDHCPCD is what an import added before: with it, dhcpcd leaves the interface up, and asks for
// an address all the same.
const formerDHCPCD = "\n# The root comes over eth0: leave it alone.\ninterface eth0\nnolink\n"

func (a *adapter) dhcpcd() error {
	return a.edit(dhcpcdFile, "dhcpcd leaves eth0 alone, the root comes over it", func(text string) string {
		text = strings.ReplaceAll(text, formerDHCPCD, "")
		if strings.Contains(text, dhcpcdConfig) {
			return text
		}
		return text + dhcpcdConfig
	})
}

// networkdFile is what earlier imports, and each clone, have for systemd-networkd.
const networkdFile = "etc/systemd/network/05-pibootd.network"

// AsksForAddress returns the file by which an older root asks any DHCP server for an address beside
// the one that it was booted with, and the command that ends this; "" if there is none. dns are the
// name servers that the root would learn no longer.
func AsksForAddress(root *os.Root, dns []netip.Addr) (file, command string) {
	if text, err := confine.ReadText(root, networkdFile); err == nil && strings.Contains(string(text), "\nDHCP=ipv4\n") {
		script := "/^DHCP=ipv4$/d"
		if len(dns) > 0 {
			script = "s/^DHCP=ipv4$/DNS=" + strings.Trim(fmt.Sprint(dns), "[]") + "/"
		}
		return networkdFile, "sed -i '" + script + "' /" + networkdFile
	}
	if text, err := confine.ReadText(root, dhcpcdFile); err == nil && strings.Contains(string(text), formerDHCPCD) {
		return dhcpcdFile, "sed -i 's/^interface eth0$/denyinterfaces eth0/; /^nolink$/d' /" + dhcpcdFile + "; ln -sf " + kernelNames + " /" + resolverFile
	}
	return "", ""
}

const (
	resolverFile = "etc/resolv.conf"
	kernelNames  = "/proc/net/pnp"
)

// kernelResolver makes the root use the name servers that the kernel was given, which NetworkManager
// or dhcpcd would otherwise have written to resolv.conf.
func (a *adapter) kernelResolver() error {
	info, err := a.root.Lstat(resolverFile)
	if err == nil && !info.Mode().IsRegular() {
		return nil // a link to a file that another program maintains
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := confine.PutSymlink(a.root, resolverFile, kernelNames); err != nil {
		return fmt.Errorf("%s: %w", resolverFile, err)
	}
	a.note(resolverFile, "links to "+kernelNames+", the name servers that the kernel was given")
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
