package rpc

import "sync"

// A Memory holds the buffers and pipes of calls while they are read and answered,
// within one budget. Several Servers can share it.
type Memory struct {
	budget  *memoryBudget
	buffers sync.Pool  // of *[]byte, each of bigBuffer bytes
	pipes   chan *pipe // empty ones
}

// NewMemory returns a Memory of size bytes, or of what two large calls need if
// that is more.
func NewMemory(size int) *Memory {
	return &Memory{
		budget:  newMemoryBudget(size),
		buffers: sync.Pool{New: func() any { b := make([]byte, bigBuffer); return &b }},
		pipes:   make(chan *pipe, maxPipes),
	}
}

// Waiting is how many calls wait for memory.
func (m *Memory) Waiting() int {
	m.budget.mu.Lock()
	defer m.budget.mu.Unlock()
	return len(m.budget.waiting)
}

// Pipes is how many empty pipes are kept.
func (m *Memory) Pipes() int { return len(m.pipes) }
