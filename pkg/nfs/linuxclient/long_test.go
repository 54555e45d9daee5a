//go:build soak

package linuxclient

import (
	"math"
	"time"
)

// theLength is one that finds what happens seldom.
func theLength() length {
	return length{
		name: "long", patience: 110 * time.Minute, minCalls: 4000, maxCalls: 20000, maxKills: 1000, wantKills: 8,
		madeBefore: 0, renames: 60, untarred: []string{"./etc", "./usr/bin", "./dev"}, maxRead: math.MaxInt64,
	}
}
