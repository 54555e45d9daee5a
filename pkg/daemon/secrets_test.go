package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadCredentials(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"user = \"a\"", 0o644, "is -rw-r--r--; want a file that only its owner can read"},
		{"user = \"a\"\npassword = \"b\"\nissuer = \"SAx\"", 0o600, "issuer is not the seed of an account's key; want the line with SA"},
		{"", 0, "no such file or directory"},
	} {
		file := filepath.Join(dir, tt.mode.String())
		if tt.mode != 0 {
			if err := os.WriteFile(file, []byte(tt.text), tt.mode); err != nil {
				t.Fatal(err)
			}
		}
		_, err := readCredentials(file)
		if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("readCredentials = %v; want %s and %s", err, file, tt.want)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		mode  os.FileMode
		wrong string
	}{
		"good":           {"0123456789abcdef\n", 0o600, ""},
		"others read it": {"0123456789abcdef\n", 0o640, "only its owner"},
		"short":          {"0123\n", 0o600, "4 bytes"},
		"long":           {strings.Repeat("x", maxSecret+1), 0o600, "want 16 to 4096"},
	} {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		secret, err := readSecret(file)
		switch {
		case test.wrong == "" && (err != nil || string(secret) != "0123456789abcdef"):
			t.Errorf("%s: %q, %v", name, secret, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%s: %v; want an error with %q", name, err, test.wrong)
		}
	}
	if _, err := readSecret(t.TempDir()); err == nil {
		t.Error("a directory is taken for a secret")
	}
}
