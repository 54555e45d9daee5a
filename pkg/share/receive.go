package share

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ReceivePiece is how much Receive takes between two calls of before, in bytes.
const ReceivePiece = 1 << 20

// Receive writes what comes from body, which may be slow or endless, to a new
// file, makes that durable and returns its size. before is called before each
// piece with what has come so far; its error ends it. What was written so far
// stays.
func Receive(root *os.Root, name string, body io.Reader, before func(got int64) error) (got int64, err error) {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for {
		if err := before(got); err != nil {
			return got, err
		}
		n, err := io.CopyN(file, body, ReceivePiece)
		got += n
		if errors.Is(err, io.EOF) {
			return got, file.Sync()
		}
		if err != nil {
			return got, fmt.Errorf("receiving byte %d: %w", got, err)
		}
	}
}
