//go:build e2e

package main

import (
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/fleet"
	"pibootd/pkg/operation"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/web"
)

// Templates are made, shown and removed from another machine as on the NAS. An import's
// upload continues where it was when the daemon was killed in the middle of it.
func TestTemplatesFromAnotherMachine(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	gate := openLink(t, l.net, "10.77.0.1:8080")
	token := filepath.Join(t.TempDir(), "token")
	putText(t, token, l.pibootd(t, "token", "add", "laptop", "--scope", "admin"))
	from := []string{"--server", strings.TrimSuffix(gate.url, "/"), "--token-file", token}
	archive := tinyArchive(t)

	gate.set(2<<20, false)
	importing := l.start(t, append(from, "template", "import", "tiny", archive, "--allow-mismatch")...)
	for all := []web.Pending(nil); len(all) == 0 || all[0].Offset < 1<<20; {
		all = l.uploads(t)
		if !pause.For(t.Context(), 20*time.Millisecond) {
			t.Fatal(t.Context().Err())
		}
	}
	_ = l.daemon.end(t, syscall.SIGKILL)
	gate.set(0, true)
	l.serve(t)
	gate.set(0, false)
	<-importing.ended
	if importing.err != nil || !containsLine(importing.text(), "tiny@1  Tiny") {
		t.Fatalf("template import: %v\n%s", importing.err, importing.text())
	}
	if left := l.uploads(t); len(left) != 0 {
		t.Errorf("uploads afterwards: %+v; want none", left)
	}

	added := decode[fleet.Added](t, l, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "hlspi1", "--template", "tiny")
	l.wantCopied(t, from, added.Pi)
	tool(t, "cp", archive, filepath.Join(l.state, "media/in the share.tar"))
	l.pibootd(t, append(from, "template", "import", "shared", "in the share.tar", "--allow-mismatch")...)
	for _, command := range []string{"list", "list --json", "show tiny@1", "show tiny@1 --json", "show none"} {
		args := append([]string{"template"}, strings.Fields(command)...)
		here, hereErrs, _ := l.try(t, args...)
		there, thereErrs, _ := l.try(t, append(from, args...)...)
		if here != there || hereErrs != thereErrs || here+hereErrs == "" {
			t.Errorf("template %s prints from another machine:\n%s%swant:\n%s%s", command, there, thereErrs, here, hereErrs)
		}
	}
	l.pibootd(t, append(from, "template", "remove", "mine@1")...)
	if _, errs, err := l.try(t, append(from, "template", "remove", "tiny@1")...); err == nil || !strings.Contains(errs, "hlspi1") {
		t.Errorf("template remove of a board's template: %v, %s; want it refused with the board", err, errs)
	}
	l.wantRemoteRefusals(t, from, archive)
}

// wantCopied makes a template of a board's root. While the board runs, that has to be
// forced, whoever asks for it.
func (l *lab) wantCopied(t *testing.T, from []string, board registry.Pi) {
	t.Helper()
	l.workAs(t, l.net, board.Serial)
	for now, err := l.client.Pi(t.Context(), board.Name); err != nil || !now.Online; now, err = l.client.Pi(t.Context(), board.Name) {
		if err != nil || !pause.For(t.Context(), 20*time.Millisecond) {
			t.Fatal(errors.Join(err, t.Context().Err()))
		}
	}
	_, err := l.client.MakeTemplate(t.Context(), web.NewTemplate{Name: "mine", Recipe: operation.FromPi, Board: board.Name})
	var refused web.Refusal
	if !errors.As(err, &refused) || refused.Status != http.StatusConflict || refused.Problem.Field != "board" {
		t.Errorf("a template of a running board is refused with %+v; want a conflict about the board", err)
	}
	copying := []string{"template", "from-pi", "mine", board.Name, "--allow-mismatch"}
	for _, where := range [][]string{nil, from} {
		if _, errs, err := l.try(t, append(where, copying...)...); err == nil || !strings.Contains(errs, "hlspi1 is running") {
			t.Errorf("%q of a running board: %v, %s; want it refused", where, err, errs)
		}
	}
	if copied := decode[rootfs.Template](t, l, append(append(from, copying...), "--force")...); copied.Name != "mine" {
		t.Errorf("template from-pi --force = %+v; want mine", copied)
	}
}

// wantRemoteRefusals tries what cannot be done from another machine.
func (l *lab) wantRemoteRefusals(t *testing.T, from []string, archive string) {
	t.Helper()
	for command, want := range map[string]string{
		"import x " + t.TempDir():                             "is not a regular file and cannot be uploaded",
		"import X " + archive:                                 "cannot name a template",
		"import x nowhere.img":                                "no file \"nowhere.img\" in the media share",
		"import x " + archive + " --config /etc/pibootd.toml": "--config with --server",
		"import x " + os.Args[0]:                              "template x failed: ",
		"build minimal --cache /tmp":                          "--cache with --server",
		"build minimal --release potato":                      "potato",
		"build minimal --arch armhf":                          "--arch with minimal",
		"from-pi x nobody":                                    "nobody",
		"diff tiny@1 tiny@1":                                  "template diff works only on the machine whose files it uses",
		"verify tiny@1":                                       "template verify works only on the machine whose files it uses",
	} {
		out, errs, err := l.try(t, append(append(from, "template"), strings.Fields(command)...)...)
		if err == nil || !strings.Contains(errs, want) {
			t.Errorf("template %s: %v, %s%s; want an error with %q", command, err, out, errs, want)
		}
	}
	if left := l.uploads(t); len(left) != 0 {
		t.Errorf("uploads after refused imports: %+v; want none", left)
	}
}

// tinyArchive makes an archive of a small root, in which are some megabytes.
func tinyArchive(t *testing.T) string {
	t.Helper()
	tree, archive := t.TempDir(), filepath.Join(t.TempDir(), "tiny.tar")
	putText(t, filepath.Join(tree, "etc/os-release"), "PRETTY_NAME=Tiny\n")
	tool(t, "install", "-D", "/bin/busybox", filepath.Join(tree, "sbin/init"))
	filling := make([]byte, 6<<20)
	_, _ = rand.Read(filling) // never fails
	putText(t, filepath.Join(tree, "srv/filling"), string(filling))
	tool(t, "tar", "-C", tree, "-cf", archive, ".")
	return archive
}

// uploads returns the uploads that are there.
func (l *lab) uploads(t *testing.T) (all []web.Pending) {
	t.Helper()
	all, err := l.client.Uploads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}
