package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxImageBytes is larger than any card. A larger image is an attack.
const MaxImageBytes = 2 << 40

// Spool writes an image from a stream to file, turns blocks of zeros into holes, and returns the
// size of the image. It calls tick after each block.
func Spool(file *os.File, from io.Reader, tick func()) (int64, error) {
	const block = 64 << 10
	buf, zeros := make([]byte, block), make([]byte, block)
	// XFS preallocates space behind the end of a growing file, even where holes will be. Setting
	// the size first avoids that. If the file system cannot hold a file of this size, the file
	// grows instead.
	_ = file.Truncate(MaxImageBytes)
	for size := int64(0); size <= MaxImageBytes; {
		n, err := io.ReadFull(from, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := file.WriteAt(buf[:n], size); err != nil {
				return 0, err
			}
		}
		size += int64(n)
		tick()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return size, file.Truncate(size)
		}
		if err != nil {
			return 0, fmt.Errorf("unpacking the image: %w", err)
		}
	}
	return 0, fmt.Errorf("the image has more than %d TiB unpacked", int64(MaxImageBytes)>>40)
}
