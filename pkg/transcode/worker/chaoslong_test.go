//go:build chaos

package worker

const (
	networkSeeds = 20
	networkCuts  = 20
)
