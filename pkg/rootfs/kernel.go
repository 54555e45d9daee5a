package rootfs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
)

const (
	// maxKernelBytes is far above any kernel, unpacked.
	maxKernelBytes = 256 << 20
	// maxGzipStarts bounds what looks like packed data in a kernel.
	maxGzipStarts = 64
)

// kernelBanner is what every Linux kernel says first (init/version.c).
var kernelBanner = regexp.MustCompile(`Linux version ([0-9][0-9A-Za-z.+~_-]*) \(`)

// zImageGzip begins the packed kernel in a 32-bit zImage.
const zImageGzip = gzipMagic + "\x08\x00"

// kernelVersion reads the version of a kernel as a board loads it: plain,
// packed whole by gzip as Raspberry Pi OS has it, or a zImage that unpacks
// itself. It returns "" if the kernel does not tell.
func kernelVersion(root *os.Root, name string) (string, error) {
	real, err := resolve(root, name)
	if err != nil {
		return "", err
	}
	file, err := root.Open(real)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxKernelBytes))
	if err != nil {
		return "", err
	}
	return bannerVersion(raw), nil
}

func bannerVersion(kernel []byte) string {
	if version := findBanner(bytes.NewReader(kernel)); version != "" {
		return version
	}
	for range maxGzipStarts {
		at := bytes.Index(kernel, []byte(zImageGzip))
		if at < 0 {
			break
		}
		if plain, err := gzip.NewReader(bytes.NewReader(kernel[at:])); err == nil {
			plain.Multistream(false)
			if version := findBanner(io.LimitReader(plain, maxKernelBytes)); version != "" {
				return version
			}
		}
		kernel = kernel[at+1:]
	}
	return ""
}

// findBanner looks for the banner without holding the whole kernel.
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
func hasModules(root *os.Root, version string) (bool, error) {
	_, err := resolve(root, "lib/modules/"+version)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
