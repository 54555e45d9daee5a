//go:build chaos

package worker

const (
	networkSeeds = 20
	networkCuts  = 20

	killSeeds = 40
	kills     = 15
)
