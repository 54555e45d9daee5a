package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An image is the same bytes twice; what index.json leads to, step by step, and
// what manifest.json names, are the layers that it was made of.
func TestImageIsWholeAndTheSame(t *testing.T) {
	dir := t.TempDir()
	layers := []string{filepath.Join(dir, "a.tar"), filepath.Join(dir, "b.tar")}
	for _, layer := range layers {
		if err := os.WriteFile(layer, []byte(strings.Repeat(layer, 1000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var made [2][]byte
	for n := range made {
		out := filepath.Join(dir, "image.tar")
		i := image{name: "pibootd:1.0", version: "1.0", debianArch: "armhf", created: time.Unix(1e9, 0).UTC()}
		if err := write(out, "config.json", i, layers); err != nil {
			t.Fatal(err)
		}
		var err error
		if made[n], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("the second image is not the first")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".image-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	checkImage(t, unpack(t, made[0]), layers)
}

// unpack returns the files of an archive.
func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func checkImage(t *testing.T, files map[string][]byte, layers []string) {
	t.Helper()
	var index struct{ Manifests []descriptor }
	read(t, files["index.json"], &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(t, blob(t, files, index.Manifests[0]), &manifest)
	var config struct {
		Architecture, Variant string
		Config                runConfig
		RootFS                rootFS
	}
	read(t, blob(t, files, manifest.Config), &config)
	if config.Architecture != "arm" || config.Variant != "v7" || config.Config.Healthcheck == nil || config.Config.Labels["org.opencontainers.image.version"] != "1.0" {
		t.Errorf("configuration = %+v; want one for arm v7, of version 1.0, with a health check", config)
	}
	var docker []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	read(t, files["manifest.json"], &docker)
	for n, layer := range layers {
		want, err := os.ReadFile(layer)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(want)
		unpacked, err := gzip.NewReader(bytes.NewReader(blob(t, files, manifest.Layers[n])))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(got, want) || config.RootFS.DiffIDs[n] != digestOf(sum[:]) || docker[0].Layers[n] != blobPath(manifest.Layers[n].Digest) {
			t.Errorf("layer %d has %d bytes, %v; want the %d of %s, and its digest", n, len(got), err, len(want), layer)
		}
	}
	if docker[0].Config != blobPath(manifest.Config.Digest) || docker[0].RepoTags[0] != "pibootd:1.0" {
		t.Errorf("manifest.json = %+v; want the same configuration, and the image's name", docker)
	}
}

// blob returns what a descriptor names, which has its size and digest.
func blob(t *testing.T, files map[string][]byte, d descriptor) []byte {
	t.Helper()
	content := files[blobPath(d.Digest)]
	if sum := sha256.Sum256(content); digestOf(sum[:]) != d.Digest || int64(len(content)) != d.Size {
		t.Errorf("%s has %d bytes and another digest; want %d", d.Digest, len(content), d.Size)
	}
	return content
}

func read(t *testing.T, text []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(text, to); err != nil {
		t.Fatalf("%.100s: %v", text, err)
	}
}

func TestImageOfNothing(t *testing.T) {
	dir := t.TempDir()
	for _, i := range []image{{name: "a:1", debianArch: "amd64"}, {name: "a:1", debianArch: "mips"}} {
		if err := write(filepath.Join(dir, "image.tar"), "config.json", i, []string{filepath.Join(dir, "none")}); err == nil {
			t.Errorf("an image for %s of no layer: no error", i.debianArch)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
