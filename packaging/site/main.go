// Command site builds the pages of docs/ into a static site with search, in any
// directory, or compressed for pibootd to serve at /docs/. Its pages need no
// server: they also open from a disk.
package main

import (
	"bytes"
	"compress/gzip"
	"embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed static
var static embed.FS

func main() {
	output := flag.String("o", "bin/site", "write the site to `DIR`, which is emptied first")
	compress := flag.Bool("gzip", false, "write each file compressed, as NAME.gz")
	flag.Parse()
	if err := run(".", *output, *compress); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// run builds the site of the tree in top.
func run(top, output string, compress bool) error {
	files, err := build(top)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(output); err != nil {
		return err
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if compress {
			name += ".gz"
			if content, err = compressed(content); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(output, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compressed packs a file without a time.
func compressed(content []byte) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := zip.Write(content); err != nil {
		return nil, err
	}
	err = zip.Close()
	return out.Bytes(), err
}
