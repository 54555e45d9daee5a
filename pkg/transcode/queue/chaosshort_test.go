//go:build !chaos

package queue

// A few histories, for every day; make chaos tries more and longer ones.
const (
	chaosSeeds = 4
	chaosSteps = 25
)
