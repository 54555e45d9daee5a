package nfs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

const blockSize = aes.BlockSize

// A handleKey makes MACs of file handles: AES-CMAC (NIST SP 800-38B, RFC 4493)
// with a key of 256 bits. A handle is three blocks at most, which the processor
// does in a fraction of the time of the two hashes of an HMAC, and each call has
// a handle to check. It is safe for concurrent use.
type handleKey struct {
	block       cipher.Block
	full, short [blockSize]byte // what a last block that is full, or is not, is mixed with
}

// newHandleKey makes a handleKey of keySize bytes.
func newHandleKey(key []byte) (*handleKey, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("nfs: the key of the file handles: %w", err)
	}
	k := &handleKey{block: block}
	var zero [blockSize]byte
	block.Encrypt(k.full[:], zero[:])
	k.full = doubled(k.full)
	k.short = doubled(k.full)
	return k, nil
}

// doubled is b times x in the field of 2^128 elements, in the same time for
// every b.
func doubled(b [blockSize]byte) (out [blockSize]byte) {
	const polynomial = 0x87
	for i := range blockSize - 1 {
		out[i] = b[i]<<1 | b[i+1]>>7
	}
	out[blockSize-1] = b[blockSize-1]<<1 ^ polynomial*(b[0]>>7)
	return out
}

// appendSum appends the MAC of b to out.
func (k *handleKey) appendSum(out, b []byte) []byte {
	var zero [blockSize]byte
	at := len(out)
	out = append(out, zero[:]...)
	sum := out[at:]
	for len(b) > blockSize {
		subtle.XORBytes(sum, sum, b[:blockSize])
		k.block.Encrypt(sum, sum)
		b = b[blockSize:]
	}
	subtle.XORBytes(sum, sum, b)
	if len(b) == blockSize {
		subtle.XORBytes(sum, sum, k.full[:])
	} else {
		sum[len(b)] ^= 0x80
		subtle.XORBytes(sum, sum, k.short[:])
	}
	k.block.Encrypt(sum, sum)
	return out
}
