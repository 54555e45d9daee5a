package daemon

// hintedError carries what the user can do about it.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// Hint is what the user can do about the error.
func (e hintedError) Hint() string { return e.hint }
