package rpc

import (
	"fmt"
	"runtime/debug"
)

// Recover turns a panic of the function that defers it into its error.
func Recover(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}
