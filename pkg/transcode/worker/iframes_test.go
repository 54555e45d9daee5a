package worker

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// What a player fetches of the key frames of an encrypted stream, and decrypts by itself,
// decodes to the key frames of a stream without encryption.
func TestEncryptedIFrames(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.provide("a.mp4", makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=320x180:r=5:d=5 "+x264))
	rungs, alike := []transcode.Rung{{Lines: 180, BitrateBPS: 400_000}}, []string{"-threads", "1"}
	for _, container := range []transcode.Container{transcode.ContainerTS, transcode.ContainerCMAF} {
		plain := transcode.Output{Container: container, Rungs: rungs, Options: alike}
		want := keyFramesOf(t, c.publish(t, "plain-"+string(container), plain), plain)
		if len(want) != 5 || want[0] == want[1] {
			t.Fatalf("%s: key frames %q; want 5", container, want)
		}
		if container == transcode.ContainerTS {
			// ffmpeg's reader strings all ranges together. Of CMAF it then looks for the other frames
			// that a fragment lists in what follows, so it reads no such playlist of anybody's.
			list := filepath.Join(c.media, "hls", "plain-ts", "180p", "iframes.m3u8")
			out := strings.Fields(ffmpegRun(t, "", "ffmpeg", "-v", "error", "-i", list, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-"))
			got := slices.DeleteFunc(out, func(word string) bool { return len(word) != 32 || word == "" })
			if !slices.Equal(got, want) {
				t.Errorf("ffmpeg's HLS reader finds the frames %q in %s; want %q", got, list, want)
			}
		}
		whole, samples := plain, plain
		whole.Encrypted, whole.KeyEvery = true, 2
		samples.Encrypted, samples.SampleAES, samples.Container = true, true, ""
		for name, o := range map[string]transcode.Output{"whole-" + string(container): whole, "samples-" + string(container): samples} {
			if o.SampleAES && container == transcode.ContainerTS {
				continue
			}
			if got := keyFramesOf(t, c.publish(t, name, o), o); !slices.Equal(got, want) {
				t.Errorf("%s: key frames %q; want %q", name, got, want)
			}
		}
	}
}

// keyFramesOf returns a hash of what each range of a stream's playlist of key frames decodes
// to.
func keyFramesOf(t *testing.T, stream string, o transcode.Output) []string {
	t.Helper()
	dir := filepath.Join(stream, "180p")
	text, err := os.ReadFile(filepath.Join(dir, "iframes.m3u8"))
	if err != nil {
		t.Fatal(err)
	}
	init, err := os.ReadFile(filepath.Join(dir, transcode.InitName))
	if err != nil && strings.Contains(string(text), "EXT-X-MAP") {
		t.Fatal(err)
	}
	var hashes []string
	var key []byte
	size := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if _, uri, ok := strings.Cut(line, `,URI="`); ok {
			uri, _, _ = strings.Cut(uri, `"`)
			if key, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(uri))); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sscanf(line, "#EXT-X-BYTERANGE:%d@0", &size); line == "" || line[0] == '#' {
			continue
		}
		segment, err := os.ReadFile(filepath.Join(dir, line))
		if err != nil {
			t.Fatal(err)
		}
		data, options := segment, []string{}
		switch {
		case o.SampleAES:
			options = []string{"-decryption_key", hex.EncodeToString(key)}
		case o.Encrypted:
			data = decryptedRange(t, segment, key, len(hashes), size)
		}
		file := written(t, "frame", string(init)+string(data[:size]))
		out := ffmpegRun(t, "", "ffmpeg", append(append([]string{"-v", "quiet", "-seekable", "0"}, options...), "-i", file, "-map", "0:v", "-f", "framehash", "-hash", "md5", "-")...)
		frames := slices.DeleteFunc(strings.Split(strings.TrimSpace(out), "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
		if len(frames) != 1 {
			t.Fatalf("%s: %d bytes of %s have frames %q; want one", dir, size, line, frames)
		}
		hashes = append(hashes, frames[0][strings.LastIndex(frames[0], " ")+1:])
	}
	return hashes
}

// decryptedRange decrypts the first bytes of a segment, without the rest of it: whole blocks,
// of which the first has the segment's number as its IV (RFC 8216bis §6.3.6).
func decryptedRange(t *testing.T, segment, key []byte, number, size int) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	binary.BigEndian.PutUint64(iv[8:], uint64(number))
	wide := (size + aes.BlockSize - 1) / aes.BlockSize * aes.BlockSize
	data := slices.Clone(segment[:wide])
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	return data
}
