// Package progress describes how far a long operation is.
package progress

// A Func receives the current step of an operation and how many of its units are
// done; total 0 means that their number is unknown. It is called by one goroutine
// at a time and must not block. A nil Func ignores reports.
type Func func(step string, done, total int64)

// Report calls p unless it is nil.
func (p Func) Report(step string, done, total int64) {
	if p != nil {
		p(step, done, total)
	}
}
