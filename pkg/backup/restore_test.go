package backup

import (
	"archive/tar"
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/store"
)

// A backup that is not whole, or not one of this version, is refused in one sentence. Nothing has
// its name then, and nothing outside was touched.
func TestRestoreRefuses(t *testing.T) {
	ours := databaseOf(t, store.Schema())
	whole := entries{
		file(headerName, someHeader), file(stateDir+database, ours), file(configName, "interface = \"eth0\"\n"),
		file(rootsDir+"3333347a.json", `{"serial":"3333347a"}`), file(rootsDir+"3333347a/etc/hosts", "x"), file(mediaDir+"film", "x"), file(endName, "{}"),
	}
	packed := whole.pack(t, true)
	flipped := bytes.Clone(packed)
	flipped[len(flipped)/2] ^= 1
	link := func(name, to string) entry {
		return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}, ""}
	}
	huge := file(stateDir+"keys/nfs", "x")
	huge.Size = 1 << 60
	for name, c := range map[string]struct {
		backup []byte
		want   string
	}{
		"empty":                     {nil, "this is no backup of pibootd"},
		"another file":              {[]byte("PK\x03\x04 and more of it"), "this is no backup of pibootd"},
		"another program's archive": {entries{file("etc/passwd", "root")}.pack(t, true), `it begins with "etc/passwd"`},
		"cut off":                   {packed[:len(packed)*2/3], "it is "},
		"without its last byte":     {packed[:len(packed)-1], "it is damaged"},
		"with a wrong bit":          {flipped, "it is "},
		"twice":                     {append(bytes.Clone(packed), packed...), "something follows its end"},
		"of a newer database":       {whole.with(1, file(stateDir+database, databaseOf(t, store.Schema()+1))).pack(t, true), fmt.Sprintf("is of a newer pibootd: it has schema %d, and this pibootd knows %d", store.Schema()+1, store.Schema())},
		"without a database":        {whole.with(1, file(stateDir+"keys/nfs", "x")).pack(t, true), "unable to open"},
		"of a damaged database":     {whole.with(1, file(stateDir+database, "nonsense")).pack(t, true), "not a database"},
		"state elsewhere":           {whole.with(2, file(stateDir+"../../outside", "x")).pack(t, true), "leaves its directory"},
		"media elsewhere":           {whole.with(5, file(mediaDir+"../../outside", "x")).pack(t, true), "leaves its directory"},
		"root elsewhere":            {whole.with(4, file(rootsDir+"3333347a/../../outside", "x")).pack(t, true), "leaves its directory"},
		"by a link":                 {whole.with(2, link(stateDir+"keys", "../..")).with(3, file(stateDir+"keys/outside", "x")).pack(t, true), "unpacking"},
		"by an absolute link":       {whole.with(2, link(stateDir+"keys", "/tmp")).with(3, file(stateDir+"keys/outside", "x")).pack(t, true), "unpacking"},
		"a huge file":               {whole.with(2, huge).pack(t, false), "it is "},
		"a huge text":               {entries{entry{tar.Header{Typeflag: tar.TypeReg, Name: headerName, Size: 1 << 40}, "{}"}}.pack(t, false), "bytes; want"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			target := Target{StateDir: filepath.Join(dir, "new", "state"), Progress: func(string, int64, int64) {}}
			if err := os.Mkdir(filepath.Dir(target.StateDir), 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := target.Restore(t.Context(), bytes.NewReader(c.backup))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Restore = %v; want an error of one line with %q", err, c.want)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(left) > 0 {
				t.Errorf("it has left %q, %v; want nothing", left, err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "outside")); err == nil {
				t.Error("there is a file outside of the state directory")
			}
		})
	}
}

type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content))}, content}
}

type entries []entry

// with returns a backup with another entry in a place.
func (e entries) with(i int, other entry) entries {
	changed := append(entries{}, e...)
	changed[i] = other
	return changed
}

// pack writes a backup, which has no end if it is not whole.
func (e entries) pack(t *testing.T, whole bool) []byte {
	t.Helper()
	var out bytes.Buffer
	sealed, err := seal(&out, nil)
	if err != nil {
		t.Fatal(err)
	}
	to := tar.NewWriter(sealed)
	for _, m := range e {
		m.Mode, m.Uid, m.Gid = 0o600, os.Getuid(), os.Getgid()
		err = errors.Join(err, to.WriteHeader(&m.Header))
		if _, failed := to.Write([]byte(m.content)); failed != nil {
			err = errors.Join(err, failed)
		}
		if m.Size > int64(len(m.content)) {
			break
		}
	}
	if whole {
		err = errors.Join(err, to.Close())
	}
	if err := errors.Join(err, sealed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// databaseOf returns a database that says it has a schema.
func databaseOf(t *testing.T, schema int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "database")
	s, err := store.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("PRAGMA journal_mode=DELETE; PRAGMA user_version=%d", schema)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
