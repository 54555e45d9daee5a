package hls

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
)

// KeyBytes is the length of a stream's key.
const KeyBytes = 16

// EncryptedSize returns what a segment of this size becomes: PKCS #7 always pads.
func EncryptedSize(sizeBytes int64) int64 {
	return sizeBytes/aes.BlockSize*aes.BlockSize + aes.BlockSize
}

// Encrypt writes a segment as players of METHOD=AES-128 expect it (RFC 8216
// §4.3.2.4): AES-128 in CBC mode with PKCS #7 padding, the IV being the media
// sequence number.
func Encrypt(w io.Writer, r io.Reader, key []byte, number int) error {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != KeyBytes {
		return fmt.Errorf("encrypting a segment: key of %d bytes; want %d", len(key), KeyBytes)
	}
	iv := make([]byte, aes.BlockSize)
	binary.BigEndian.PutUint64(iv[8:], uint64(number))
	mode := cipher.NewCBCEncrypter(block, iv)
	buf := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, buf[:len(buf)-aes.BlockSize])
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			return fmt.Errorf("encrypting a segment: %w", err)
		}
		if last {
			padding := aes.BlockSize - n%aes.BlockSize
			for i := range padding {
				buf[n+i] = byte(padding)
			}
			n += padding
		}
		mode.CryptBlocks(buf[:n], buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("encrypting a segment: %w", err)
		}
		if last {
			return nil
		}
	}
}
