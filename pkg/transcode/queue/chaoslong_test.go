//go:build chaos

package queue

const (
	chaosSeeds = 100
	chaosSteps = 60
)
