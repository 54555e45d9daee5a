package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// options are esbuild's. Modules that are imported on demand, such as the player,
// become files of their own.
func options(dir string) api.BuildOptions {
	return api.BuildOptions{
		AbsWorkingDir:     dir,
		EntryPoints:       []string{"src/app.tsx", "src/style/app.css"},
		Outdir:            "dist/assets",
		EntryNames:        "[name]-[hash]",
		ChunkNames:        "[name]-[hash]",
		AssetNames:        "[name]-[hash]",
		Bundle:            true,
		Splitting:         true,
		Format:            api.FormatESModule,
		Target:            api.ES2022,
		JSX:               api.JSXAutomatic,
		JSXImportSource:   "preact",
		MinifySyntax:      true,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		LegalComments:     api.LegalCommentsNone,
		LogLevel:          api.LogLevelWarning,
	}
}

// bundle writes the dashboard to dist: index.html, and all else in assets, by names
// that change with the content. Everything is compressed.
func bundle(dir string) error {
	built := api.Build(options(dir))
	if len(built.Errors) > 0 {
		return errors.New("esbuild has found errors, see above")
	}
	assets := filepath.Join(dir, "dist", "assets")
	if err := os.RemoveAll(assets); err != nil {
		return err
	}
	if err := os.MkdirAll(assets, 0o755); err != nil {
		return err
	}
	for _, file := range built.OutputFiles {
		if err := writeCompressed(filepath.Join(assets, filepath.Base(file.Path)+".gz"), file.Contents); err != nil {
			return err
		}
	}
	return writeIndex(dir)
}

// writeIndex writes index.html, in which app.js and app.css get their names.
func writeIndex(dir string) error {
	page, err := os.ReadFile(filepath.Join(dir, "src", "index.html"))
	if err != nil {
		return err
	}
	for _, ext := range []string{"js", "css"} {
		found, err := filepath.Glob(filepath.Join(dir, "dist", "assets", "app-*."+ext+".gz"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%d files app-*.%s; want one: %w", len(found), ext, err)
		}
		name := strings.TrimSuffix(filepath.Base(found[0]), ".gz")
		page = bytes.ReplaceAll(page, []byte("/app."+ext), []byte("/assets/"+name))
	}
	return writeCompressed(filepath.Join(dir, "dist", "index.html.gz"), page)
}

// writeCompressed writes a file that has the same bytes whenever content has.
func writeCompressed(name string, content []byte) error {
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zipped.Write(content); err != nil {
		return err
	}
	if err := zipped.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, out.Bytes(), 0o644)
}
