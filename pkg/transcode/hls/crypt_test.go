package hls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"
	"testing/iotest"
)

// Decryption with the segment's number gives what was encrypted. That a player
// agrees is seen where streams are published.
func TestEncrypt(t *testing.T) {
	key := []byte("0123456789abcdef")
	for _, size := range []int{0, 1, 15, 16, 17, 64<<10 - 17, 64<<10 - 16, 64<<10 - 15, 200_000} {
		plain := bytes.Repeat([]byte("segment"), size/7+1)[:size]
		var sealed bytes.Buffer
		if err := Encrypt(&sealed, iotest.HalfReader(bytes.NewReader(plain)), key, 258); err != nil {
			t.Fatal(err)
		}
		if got := int64(sealed.Len()); got != EncryptedSize(int64(size)) {
			t.Errorf("%d bytes become %d; want %d", size, got, EncryptedSize(int64(size)))
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		got := sealed.Bytes()
		cipher.NewCBCDecrypter(block, []byte{14: 1, 15: 2}).CryptBlocks(got, got)
		if padding := int(got[len(got)-1]); !bytes.Equal(got[:len(got)-padding], plain) {
			t.Errorf("%d bytes: %d are decrypted, padded by %d", size, len(got), padding)
		}
	}
	if err := Encrypt(&bytes.Buffer{}, &bytes.Buffer{}, key[:8], 0); err == nil {
		t.Error("half a key is accepted")
	}
}
