package boot

import (
	"path"
	"slices"
	"strings"
)

// secrets are patterns of path.Match, in lower case, for files in boot directories
// that configure the first boot of a system and may contain a password, its hash or
// a key. The system reads them from its mounted root; no boot code asks for them.
// File modes do not identify secrets: Ubuntu's kernels have 0600, and the FAT of
// an image's card has no modes.
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

// isSecret reports whether a name, or a directory in it, must never be served. As on
// the FAT of a card, case and trailing dots and spaces do not matter.
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
