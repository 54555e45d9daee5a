package share

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ReceivePiece is the number of bytes that Receive reads between two calls of
// before.
const ReceivePiece = 1 << 20

// Receive copies body, which may be slow or endless, to a new file, syncs it and
// returns its size. Before each piece it calls before with the number of bytes
// received so far, and stops if that returns an error. An incomplete file stays.
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
