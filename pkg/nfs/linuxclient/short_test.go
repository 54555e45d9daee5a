//go:build e2e && !soak

package linuxclient

import "time"

// theLength is one that does every kind of work, and not much of any.
func theLength() length {
	return length{
		name: "short", patience: 15 * time.Minute, minCalls: 3000, maxCalls: 8000, maxKills: 12, wantKills: 4,
		madeBefore: 9000, renames: 20, untarred: []string{"./etc", "./usr/sbin", "./dev"}, maxRead: 64 << 10,
	}
}
