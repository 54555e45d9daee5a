//go:build e2e && !soak

package linuxclient

import "time"

// theLength is one that does every kind of work, and not much of any.
func theLength() length {
	return length{
		name: "short", minLife: 5 * time.Second, maxLife: 15 * time.Second, maxKills: 8, wantKills: 4,
		madeBefore: 9000, renames: 20, untarred: []string{"./etc", "./usr/sbin", "./dev"}, maxRead: 64 << 10,
	}
}
