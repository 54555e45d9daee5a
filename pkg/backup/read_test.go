package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"strings"
	"testing"
)

// member is one of a backup.
type member struct{ name, content string }

const someHeader = `{"format":1,"version":"1.0","state_dir":"/state","media_dir":"/state/media"}`

func pack(t testing.TB, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	sealed, err := seal(&out, nil)
	if err != nil {
		t.Fatal(err)
	}
	to := tar.NewWriter(sealed)
	for _, m := range members {
		err = errors.Join(err, to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.content)), Mode: 0o600}))
		_, written := to.Write([]byte(m.content))
		err = errors.Join(err, written)
	}
	if err := errors.Join(err, to.Close(), sealed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestVerify(t *testing.T) {
	head, end, root := member{headerName, someHeader}, member{endName, "{}"}, member{"roots/3333347a.json", `{"serial":"3333347a"}`}
	for name, c := range map[string]struct {
		members []member
		want    string // in the error; "": none
	}{
		"whole":             {[]member{head, {"state/pibootd.db", "x"}, root, {"roots/3333347a/etc/hosts", "x"}, {"media/film", "x"}, end}, ""},
		"without an end":    {[]member{head}, "it is cut off"},
		"without a header":  {[]member{end}, `it begins with "end"`},
		"of another format": {[]member{{headerName, `{"format":2,"version":"2.0"}`}, end}, "it has the format 2; want 1: use the pibootd that made it, 2.0"},
		"header is no JSON": {[]member{{headerName, `{`}, end}, "backup.json is damaged"},
		"something more":    {[]member{head, {"elsewhere", "x"}, end}, `it has "elsewhere" in it`},
		"after its end":     {[]member{head, end, {"state/x", "x"}}, `"state/x" follows its end`},
		"file of no root":   {[]member{head, {"roots/3333347a/etc/hosts", "x"}, end}, "is not of the root before it"},
		"file of another":   {[]member{head, root, {"roots/3333347b/etc/hosts", "x"}, end}, "is not of the root before it"},
		"root of another":   {[]member{head, {"roots/3333347b.json", `{"serial":"3333347a"}`}, end}, "is of the board 3333347a"},
		"without paths":     {[]member{{headerName, `{"format":1}`}, end}, "want two absolute paths"},
		"a path outside":    {[]member{head, root, {"roots/3333347a/../../x", "x"}, end}, "leaves its directory"},
		"root with a path":  {[]member{head, {"roots/../x.json", `{"serial":"3333347a"}`}, end}, "leaves its directory"},
	} {
		_, err := Verify(t.Context(), bytes.NewReader(pack(t, c.members...)), nil, nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// No bytes make a reader fail otherwise than with an error, or count as whole unless they have an end.
func FuzzVerify(f *testing.F) {
	f.Add(pack(f, member{headerName, someHeader}, member{"state/x", "x"}, member{endName, "{}"}))
	f.Add([]byte(ageMagic + "-> scrypt"))
	f.Add([]byte(zstdMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		header, err := Verify(t.Context(), bytes.NewReader(data), nil, nil)
		if err == nil && header.Format != Format {
			t.Errorf("%q is whole, and has the format %d", data, header.Format)
		}
	})
}
