package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// npm's registry, and what a package of it may cost.
const (
	npmRegistry = "https://registry.npmjs.org/"
	fetchTime   = 5 * time.Minute
	maxTarball  = 32 << 20
	maxUnpacked = 256 << 20
)

// A lockedPackage is an entry of package-lock.json.
type lockedPackage struct {
	Version   string `json:"version"`
	Integrity string `json:"integrity"` // sha512-BASE64
	Dev       bool   `json:"dev"`       // for checks and tests alone
	Optional  bool   `json:"optional"`
}

// fetchPackages puts the packages that the dashboard is made of into node_modules,
// as npm would. It fetches only what is missing or has another version.
func fetchPackages(ctx context.Context, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	var lock struct {
		Packages map[string]lockedPackage `json:"packages"`
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return fmt.Errorf("package-lock.json: %w", err)
	}
	for place, locked := range lock.Packages {
		if place == "" || locked.Dev || locked.Optional || isInstalled(filepath.Join(dir, place), locked.Version) {
			continue
		}
		if !filepath.IsLocal(place) {
			return fmt.Errorf("package-lock.json has a package at %q; want it below node_modules", place)
		}
		if err := fetchPackage(ctx, filepath.Join(dir, place), place, locked); err != nil {
			return fmt.Errorf("%s %s: %w", place, locked.Version, err)
		}
	}
	return nil
}

func isInstalled(dir, version string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	var installed struct{ Version string }
	return err == nil && json.Unmarshal(text, &installed) == nil && installed.Version == version
}

// fetchPackage unpacks a package beside its directory and renames it, so that one
// that was interrupted is not taken for a whole one.
func fetchPackage(ctx context.Context, dir, place string, locked lockedPackage) error {
	tarball, err := download(ctx, tarballURL(place, locked.Version))
	if err != nil {
		return err
	}
	sum := sha512.Sum512(tarball)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != locked.Integrity {
		return fmt.Errorf("the registry's file has %s; want %s, as in package-lock.json", got, locked.Integrity)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := unpack(tarball, fresh); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// tarballURL follows npm's scheme: @scope/name is at @scope/name/-/name-VERSION.tgz.
func tarballURL(place, version string) string {
	name := strings.TrimPrefix(filepath.ToSlash(place), "node_modules/")
	registry := strings.TrimSuffix(cmp.Or(os.Getenv("npm_config_registry"), npmRegistry), "/")
	return fmt.Sprintf("%s/%s/-/%s-%s.tgz", registry, name, path.Base(name), version)
}

func download(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxTarball))
}

// unpack unpacks the regular files of a package. All of them are in one directory,
// whatever it is called.
func unpack(tarball []byte, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	unzipped, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		return err
	}
	archive := tar.NewReader(io.LimitReader(unzipped, maxUnpacked))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return os.Chmod(dir, 0o755)
		}
		if err != nil {
			return err
		}
		_, name, found := strings.Cut(header.Name, "/")
		if !found || header.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(root, name, archive); err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
