package main

import (
	"fmt"
	"strings"
	"time"
)

// An image is what its layers are not.
type image struct {
	name, version, revision string
	debianArch              string
	created                 time.Time
	config                  runConfig
}

// A runConfig is what a container runs, as in config.md of the specification.
// Healthcheck is docker's (moby, Docker Image Specification 1.2).
type runConfig struct {
	Entrypoint  []string            `json:",omitempty"`
	Cmd         []string            `json:",omitempty"`
	Env         []string            `json:",omitempty"`
	WorkingDir  string              `json:",omitempty"`
	Volumes     map[string]struct{} `json:",omitempty"`
	StopSignal  string              `json:",omitempty"`
	Healthcheck *healthcheck        `json:",omitempty"`
	Labels      map[string]string   `json:",omitempty"`
}

// A healthcheck is a command that docker runs again and again; it exits with 0
// if the container is healthy.
type healthcheck struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

// A platform is what an image runs on, in Go's words.
type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// A descriptor names a blob (descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// The media types of media-types.md.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// build puts the layers into b, and then all that describes them.
func (i *image) build(b *blobs, layers []string) error {
	on, err := platformOf(i.debianArch)
	if err != nil {
		return err
	}
	files := rootFS{Type: "layers"}
	var past []history
	var packed []descriptor
	for _, file := range layers {
		layer, diffID, err := b.addLayer(file)
		if err != nil {
			return fmt.Errorf("layer %s: %w", file, err)
		}
		packed = append(packed, layer)
		files.DiffIDs = append(files.DiffIDs, diffID)
		past = append(past, history{i.created, "make image"})
	}
	config, err := b.addJSON(typeConfig, struct {
		platform
		Created time.Time `json:"created"`
		Config  runConfig `json:"config"`
		RootFS  rootFS    `json:"rootfs"`
		History []history `json:"history"`
	}{on, i.created, i.labelled(), files, past})
	if err != nil {
		return err
	}
	return i.index(b, on, config, packed)
}

// index writes what says where to begin: index.json, and docker's manifest.json.
func (i *image) index(b *blobs, on platform, config descriptor, layers []descriptor) error {
	manifest, err := b.addJSON(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": layers})
	if err != nil {
		return err
	}
	_, tag, _ := strings.Cut(i.name, ":")
	manifest.Platform = &on
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": "docker.io/library/" + i.name}
	var paths []string
	for _, layer := range layers {
		paths = append(paths, blobPath(layer.Digest))
	}
	return b.addFiles(map[string]any{
		"oci-layout":    map[string]string{"imageLayoutVersion": "1.0.0"},
		"index.json":    map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{manifest}},
		"manifest.json": []any{map[string]any{"Config": blobPath(config.Digest), "RepoTags": []string{i.name}, "Layers": paths}},
	})
}

// labelled returns the configuration with the labels of this version.
func (i *image) labelled() runConfig {
	c := i.config
	c.Labels = map[string]string{
		"org.opencontainers.image.version":  i.version,
		"org.opencontainers.image.revision": i.revision,
		"org.opencontainers.image.created":  i.created.Format(time.RFC3339),
	}
	for key, value := range i.config.Labels {
		c.Labels[key] = value
	}
	return c
}

// platformOf turns Debian's name of an architecture into Go's.
func platformOf(debianArch string) (platform, error) {
	switch debianArch {
	case "amd64":
		return platform{Architecture: "amd64", OS: "linux"}, nil
	case "arm64":
		return platform{Architecture: "arm64", OS: "linux", Variant: "v8"}, nil
	case "armhf":
		return platform{Architecture: "arm", OS: "linux", Variant: "v7"}, nil
	}
	return platform{}, fmt.Errorf("architecture %q; want amd64, arm64 or armhf", debianArch)
}
