//go:build netns

package images

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A package that is upgraded to one whose settings Debian has changed asks
// nothing, and what the template says instead stays.
func TestUpgradesAskNothing(t *testing.T) {
	const settings = "etc/default/raspi-firmware"
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc/default", "usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "var/lib/dpkg/status"), "")
	hook := text(t, Debian(), "hooks/essential")
	run(t, "sh", "-c", hook, "sh", root)
	install := func(version string) {
		run(t, "dpkg", "--root="+root, "--log=/dev/null", "-i", settingsPackage(t, settings, version))
	}
	install("1")
	ours := text(t, Debian(), "root/"+settings)
	write(t, filepath.Join(root, settings), ours) // as the hook customize does
	install("2")
	in := os.DirFS(root)
	if got := text(t, in, settings); got != ours {
		t.Errorf("%s after an upgrade: %q; want ours", settings, got)
	}
	if got := text(t, in, settings+".debian"); got != "# version 2\n" {
		t.Errorf("%s.debian after an upgrade: %q; want Debian's of version 2", settings, got)
	}
}

// settingsPackage makes a package with one conffile.
func settingsPackage(t *testing.T, conffile, version string) string {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for _, sub := range []string{"DEBIAN", filepath.Dir(conffile)} {
		if err := os.MkdirAll(filepath.Join(tree, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(tree, "DEBIAN/control"), fmt.Sprintf("Package: raspi-firmware\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: settings\n", version))
	write(t, filepath.Join(tree, "DEBIAN/conffiles"), "/"+conffile+"\n")
	write(t, filepath.Join(tree, conffile), "# version "+version+"\n")
	file := filepath.Join(dir, "settings.deb")
	run(t, "dpkg-deb", "--build", tree, file)
	return file
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, tree fs.FS, name string) string {
	t.Helper()
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// run runs a program that can ask nobody.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
