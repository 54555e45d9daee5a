//go:build !nextschema

package store

import "embed"

var next embed.FS // none: see next.go
