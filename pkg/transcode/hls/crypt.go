package hls

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// KeyBytes is the length of a stream's key.
const KeyBytes = mediafile.AESBytes

// Sealed is what has become of a stream whose samples are encrypted.
type Sealed struct {
	Sizes map[string]int64               // bytes of segments, by their paths within the stream
	Keys  map[string]mediafile.SampleKey // by name
}

// segments returns the segments of a list with the sizes that they are published with.
func (s Sealed) segments(o transcode.Output, dir string, t *transcode.SegmentList) []transcode.Segment {
	list := slices.Clone(t.Segments)
	for i := range list {
		if o.SampleAES {
			grown := cmp.Or(s.Sizes[path.Join(o.Place(dir), o.File(list[i].Name))], list[i].SizeBytes)
			if list[i].KeyBytes > 0 { // what is added describes the samples, before the first of them
				list[i].KeyBytes += grown - list[i].SizeBytes
			}
			list[i].SizeBytes = grown
		} else {
			list[i].SizeBytes = EncryptedSize(list[i].SizeBytes)
		}
	}
	return list
}

// isEncrypted reports whether the segments of a list are encrypted. Text has no samples.
func isEncrypted(o transcode.Output, t *transcode.SegmentList) bool {
	return o.Encrypted && (!o.SampleAES || t.Init != nil)
}

// keyBefore returns the EXT-X-KEY before a segment; "" where the key remains what it was.
func (s Sealed) keyBefore(o transcode.Output, dir string, t *transcode.SegmentList, segment int) string {
	if !isEncrypted(o, t) || segment > 0 && o.Key(segment) == o.Key(segment-1) {
		return ""
	}
	return s.key(o, dir, segment)
}

// key returns the EXT-X-KEY before a segment. With AES-128, the IV is the segment's media
// sequence number (RFC 8216 §5.2). That of samples is in the initialization section;
// players that look for it in the playlist find the same.
func (s Sealed) key(o transcode.Output, dir string, segment int) string {
	uri := keyURI(o, dir, segment)
	if !o.SampleAES {
		return fmt.Sprintf("#EXT-X-KEY:METHOD=AES-128,URI=\"%s\"\n", uri)
	}
	return fmt.Sprintf("#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"%s\",IV=0x%X,KEYFORMAT=\"identity\"\n", uri, s.Keys[o.Key(0)].IV)
}

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
