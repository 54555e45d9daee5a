//go:build !chaos

package worker

// A few for every day; make chaos tries more.
const (
	networkSeeds = 2
	networkCuts  = 5

	killSeeds = 2
	kills     = 6
)
