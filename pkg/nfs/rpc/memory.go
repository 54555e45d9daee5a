package rpc

import "sync"

// A Memory is what the calls of all clients have together while they are read
// and answered. Several Servers may share one.
type Memory struct {
	room    *room
	buffers sync.Pool  // of *[]byte, each of bigBuffer bytes
	pipes   chan *pipe // empty ones
}

// NewMemory returns a Memory of size bytes, and of as many as two large calls
// need in any case.
func NewMemory(size int) *Memory {
	return &Memory{
		room:    newRoom(size),
		buffers: sync.Pool{New: func() any { b := make([]byte, bigBuffer); return &b }},
		pipes:   make(chan *pipe, maxPipes),
	}
}

// Waiting is how many calls wait for memory.
func (m *Memory) Waiting() int {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	return len(m.room.waiting)
}

// Pipes is how many empty pipes are kept.
func (m *Memory) Pipes() int { return len(m.pipes) }
