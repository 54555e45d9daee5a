package pi

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of labels, by which users name groups of boards.
const (
	MaxLabel  = 63 // bytes of one: as of a host name's (RFC 1123 §2.1, RFC 1035 §2.3.4)
	maxLabels = 16
)

// IsLabel reports whether s can be a label, of a board or of a host name.
// Lower case only: labels that differ in case alone would be taken for one.
func IsLabel(s string) bool {
	if s == "" || len(s) > MaxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// CheckLabels reports everything that is wrong with the labels of a board, or of
// what is to be done by those that have them.
func CheckLabels(labels []string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%d labels; want at most %d", len(labels), maxLabels)
	}
	var problems []error
	for _, label := range labels {
		if !IsLabel(label) {
			problems = append(problems, fmt.Errorf("label %.100q; want 1 to %d of a-z, 0-9 and -, neither first nor last a -", label, MaxLabel))
		}
	}
	return errors.Join(problems...)
}
