//go:build nextschema

package store

import "embed"

// next has one migration more, as a later version will have.
//
//go:embed next/*.sql next/down/*.sql
var next embed.FS
