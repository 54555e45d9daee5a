package progress

// A Func is told how far a long operation is: the step it is in and, where
// they can be counted, how many units of it are done; total 0 means that the
// end is unknown. It is called from one goroutine at a time and must not block.
type Func func(step string, done, total int64)

func (p Func) Report(step string, done, total int64) {
	if p != nil {
		p(step, done, total)
	}
}
