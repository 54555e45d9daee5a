package bootcheck

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"regexp"

	"pibootd/pkg/rootfs/confine"
)

const (
	// maxKernelBytes is more than any kernel has uncompressed.
	maxKernelBytes = 256 << 20
	// maxKernelFile is more than any kernel file has that boot code loads.
	maxKernelFile = 96 << 20
	// maxGzipStarts is how many positions that look like gzip data are tried.
	maxGzipStarts = 64
)

// kernelBanner is the first message of every Linux kernel (init/version.c).
var kernelBanner = regexp.MustCompile(`Linux version ([0-9][0-9A-Za-z.+~_-]*) \(`)

// zImageGzip are the first bytes of the compressed kernel in a 32-bit zImage.
const zImageGzip = "\x1f\x8b\x08\x00"

// kernelVersion reads the version of a kernel file: uncompressed, compressed by
// gzip as in Raspberry Pi OS, or a zImage. It returns "" if it finds no version.
func kernelVersion(root *os.Root, name string) (string, error) {
	file, info, err := confine.OpenRegular(root, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if info.Size() > maxKernelFile {
		return "", fmt.Errorf("got %d bytes; want at most %d", info.Size(), maxKernelFile)
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxKernelFile))
	if err != nil {
		return "", err
	}
	return bannerVersion(raw), nil
}

func bannerVersion(kernel []byte) string {
	if version := findBanner(bytes.NewReader(kernel)); version != "" {
		return version
	}
	budget := &io.LimitedReader{N: maxKernelBytes} // of all starts together
	for range maxGzipStarts {
		at := bytes.Index(kernel, []byte(zImageGzip))
		if at < 0 {
			break
		}
		if plain, err := gzip.NewReader(bytes.NewReader(kernel[at:])); err == nil {
			plain.Multistream(false)
			budget.R = plain
			if version := findBanner(budget); version != "" {
				return version
			}
		}
		kernel = kernel[at+1:]
	}
	return ""
}

// findBanner searches for the banner without keeping the whole kernel in memory.
func findBanner(from io.Reader) string {
	const overlap = 256 // longer than a version
	buf := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(from, buf[kept:])
		if found := kernelBanner.FindSubmatch(buf[:kept+n]); found != nil {
			return string(found[1])
		}
		if err != nil {
			return ""
		}
		kept = copy(buf, buf[len(buf)-overlap:])
	}
}

// hasModules reports whether a root has a kernel version's modules.
func hasModules(root *os.Root, version string) bool {
	return confine.Exists(root, "lib/modules/"+version)
}
