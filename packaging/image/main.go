// Command image writes a container image into one tar archive, of layers that
// are tar archives themselves. The archive is an OCI image layout (OCI Image
// Format Specification 1.1, image-layout.md) and also has the manifest.json of
// docker save, so that docker load, podman load and skopeo read it. The same
// layers and flags make the same bytes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	var i image
	var output, config string
	var created int64
	flag.StringVar(&output, "o", "image.tar", "write the image to `FILE`")
	flag.StringVar(&config, "config", "packaging/image/config.json", "read what a container runs from `FILE`")
	flag.StringVar(&i.debianArch, "arch", "amd64", "the layers are for Debian's `ARCHITECTURE`")
	flag.StringVar(&i.name, "name", "pibootd:latest", "the image is called `NAME:TAG`")
	flag.StringVar(&i.version, "version", "unknown", "label it with the `VERSION`")
	flag.StringVar(&i.revision, "revision", "unknown", "label it with the `COMMIT`")
	flag.Int64Var(&created, "created", 0, "it was made at `SECONDS` since 1970")
	flag.Parse()
	i.created = time.Unix(created, 0).UTC()
	if err := write(output, config, i, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// write writes the image of the layers to output, whole or not at all.
func write(output, config string, i image, layers []string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &i.config); err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	work, err := os.MkdirTemp(filepath.Dir(output), ".image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b := &blobs{dir: work}
	if err := i.build(b, layers); err != nil {
		return err
	}
	return b.archive(output, i.created)
}
