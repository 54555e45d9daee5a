package disk

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// smallFAT is a FAT12 volume made by mkfs.vfat and filled by mcopy.
func smallFAT(t testing.TB) []byte {
	t.Helper()
	file, err := os.Open("testdata/fat12.img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	image, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func walkFAT(image []byte) (map[string]string, error) {
	v, err := OpenFAT(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	err = v.Walk(func(name string, e Entry, content io.Reader) error {
		text, err := io.ReadAll(iotest.OneByteReader(content))
		files[name] = string(text)
		return err
	})
	return files, err
}

func TestFAT(t *testing.T) {
	files, err := walkFAT(smallFAT(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"config.txt": "arm_64bit=1\n", "overlays": "", "overlays/a rather long name é.dtbo": "overlay\n",
		"start4.elf": "start\n", "empty": "", "kernel8.img": string(bytes.Repeat([]byte("kernel\n"), 1000)),
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func FuzzFAT(f *testing.F) {
	f.Add(0, []byte{})
	f.Add(fatSectorAt, []byte{1})
	f.Add(512, []byte{3, 0, 0, 3, 0, 0, 3, 0, 0}) // chains that run in a circle
	image := smallFAT(f)
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		if at < 0 || at > len(image) {
			return
		}
		changed := bytes.Clone(image)
		copy(changed[at:], patch)
		files, err := walkFAT(changed)
		total := 0
		for _, text := range files {
			total += len(text)
		}
		if err == nil && total > len(image) {
			t.Errorf("a volume of %d bytes has files of %d", len(image), total)
		}
	})
}

func FuzzReadPartitions(f *testing.F) {
	f.Add([]byte("EFI PART"), 512)
	f.Add([]byte{0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0}, mbrEntriesAt)
	f.Add([]byte{0, 0, 0, 0, mbrProtective, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0}, mbrEntriesAt)
	f.Add([]byte(extMagic), extMagicAt)
	f.Fuzz(func(t *testing.T, patch []byte, at int) {
		image := make([]byte, 128<<10)
		if at < 0 || at > len(image) {
			return
		}
		copy(image[bootAt:], bootMagic)
		copy(image[at:], patch)
		list, err := ReadPartitions(bytes.NewReader(image), int64(len(image)))
		for _, p := range list {
			if err == nil && (p.Start < 0 || p.Size <= 0 || p.Start+p.Size > int64(len(image))) {
				t.Errorf("partition %+v is not inside the image", p)
			}
		}
	})
}
