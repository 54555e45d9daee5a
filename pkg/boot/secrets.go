package boot

import (
	"path"
	"slices"
	"strings"
)

// secrets are the names, in the form of path.Match and in lower case, of what is
// put into boot directories for the first boot of a system and may have a
// password, a hash of one or a key in it. The system reads it there from its
// mounted root; no boot code asks for any of it. Modes do not tell: Ubuntu's
// kernels have 0600, and on the card that an image comes from there are none.
var secrets = []string{
	// Raspberry Pi OS and its Imager (userconf-pi, raspberrypi-sys-mods, raspberrypi-net-mods)
	"userconf", "userconf.txt", "failed_userconf", "failed_userconf.txt", "custom.toml", "firstrun.sh", "wpa_supplicant*.conf",
	// cloud-init's NoCloud: Ubuntu, and Raspberry Pi OS from trixie on
	"user-data", "network-config", "meta-data", "vendor-data",
	// NetworkManager's connections, which balenaOS and others take from there
	"system-connections", "*.nmconnection",
	"dietpi.txt", "dietpi-wifi.txt", // DietPi
	"*-wpa-supplicant.txt", "octopi-network.txt", // OctoPi, and what else CustomPiOS makes
	".not_logged_in_yet", "armbian_first_run.txt*", // Armbian
	"config.json",                          // balenaOS
	"*.apkovl.tar.gz",                      // Alpine
	"device-init.yaml", "occidentalis.txt", // HypriotOS
	"pikvm.txt",                                               // PiKVM
	"*.ign",                                                   // Ignition: Fedora CoreOS, openSUSE MicroOS
	"shadow", "shadow-", "gshadow", "gshadow-", "worker.json", // of the root itself, should a link lead there
	"ssh_host_*_key", "id_rsa", "id_ecdsa", "id_ed25519",
}

// isSecret reports whether a name, or a directory in it, is one that is never
// served. As on the FAT of a card, neither case nor dots and spaces at the end
// make another name.
func isSecret(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		part = strings.ToLower(strings.TrimRight(part, ". "))
		if slices.ContainsFunc(secrets, func(pattern string) bool {
			ok, err := path.Match(pattern, part)
			return ok || err != nil
		}) {
			return true
		}
	}
	return false
}
