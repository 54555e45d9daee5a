package pi

// A RequestError says that what somebody asked for is not done because of what
// was asked, and not because of trouble here. Its text is Err's.
type RequestError struct {
	Reason Reason
	Field  string // that is wrong, as it is called in JSON, such as gpu_mem; "": no single one is
	Err    error
}

// A Reason says why a request is not done.
type Reason int

// The reasons.
const (
	Invalid  Reason = iota // it could never be done
	Missing                // what it is about is not there
	Conflict               // it contradicts what is there now
)

func (e RequestError) Error() string { return e.Err.Error() }
func (e RequestError) Unwrap() error { return e.Err }

// InvalidField says that err is about a field that could never be so; nil stays
// nil.
func InvalidField(field string, err error) error { return because(Invalid, field, err) }

// Conflicting says that err is about what is there now, for which a field, ""
// if it is none, is wrong; nil stays nil.
func Conflicting(field string, err error) error { return because(Conflict, field, err) }

func because(reason Reason, field string, err error) error {
	if err == nil {
		return nil
	}
	return RequestError{Reason: reason, Field: field, Err: err}
}
