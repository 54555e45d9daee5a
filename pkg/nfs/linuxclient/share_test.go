//go:build e2e || soak

package linuxclient

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run runs a command, which has to succeed, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runIn(t, "", name, args...)
}

func runIn(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...) // also run when the test's context has ended
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// cache is a directory that keeps what comes from Debian's mirrors between
// runs where PIBOOTD_APT_CACHE says so.
func cache(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PIBOOTD_APT_CACHE")
	if dir == "" {
		dir = t.TempDir()
	}
	dir = filepath.Join(dir, "nfs-client")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fetch returns the file of a package, of the version that apt would install.
func fetch(t *testing.T, name string) string {
	t.Helper()
	dir := cache(t)
	// print-uris: 'URL' FILE SIZE HASH
	uri := strings.Fields(run(t, "apt-get", "download", "--print-uris", name))
	if len(uri) < 2 {
		t.Fatalf("apt-get download --print-uris %s: %q; want a file's name", name, uri)
	}
	file := filepath.Join(dir, uri[1])
	if _, err := os.Stat(file); err == nil {
		return file
	}
	runIn(t, dir, "apt-get", "download", "-qq", name)
	return file
}

// makeShare makes the directory with all that the work takes.
func makeShare(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run(t, "install", program, filepath.Join(dir, "rootwork"))
	run(t, "cp", "testdata/work", "testdata/inside", dir)
	if err := os.WriteFile(filepath.Join(dir, "length"), []byte(theLength().name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := debianRoot(t)
	run(t, "cp", root, filepath.Join(dir, "root.tar"))
	// Emulated, the guest is too slow to unpack all of it.
	unpacked := t.TempDir()
	run(t, "tar", append([]string{"-xpf", root, "-C", unpacked}, theLength().untarred...)...)
	run(t, "tar", "-cpf", filepath.Join(dir, "part.tar"), "-C", unpacked, ".")
	if err := os.Mkdir(filepath.Join(dir, "packages"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hello", "sudo"} {
		run(t, "cp", fetch(t, name), filepath.Join(dir, "packages"))
	}
	makeRepository(t, filepath.Join(dir, "repository"))
	writeSysctls(t, dir)
	return dir
}

// writeSysctls writes to the share which of this machine's settings the guest takes over, because
// they change what a file system allows.
func writeSysctls(t *testing.T, share string) {
	t.Helper()
	all := ""
	for _, name := range []string{"protected_hardlinks", "protected_symlinks", "protected_fifos", "protected_regular"} {
		value, err := os.ReadFile("/proc/sys/fs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all += name + " " + strings.TrimSpace(string(value)) + "\n"
	}
	if err := os.WriteFile(filepath.Join(share, "sysctl"), []byte(all), 0o644); err != nil {
		t.Fatal(err)
	}
}

// debianRoot returns the tar file of a minimal Debian with git and sqlite3.
func debianRoot(t *testing.T) string {
	t.Helper()
	file := filepath.Join(cache(t), "root.tar")
	if _, err := os.Stat(file); err == nil {
		return file
	}
	release := strings.TrimSpace(run(t, "sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME"))
	made := file + ".new.tar"
	run(t, "mmdebstrap", "--quiet", "--variant=minbase", "--include=git,sqlite3,libapparmor1", // which sudo of Debian 13 needs
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		release, made)
	// Thousands of files like others, which the installation itself needs.
	run(t, "tar", "--delete", "--wildcards", "-f", made,
		"./usr/share/perl/*/*", "./usr/lib/*/perl/*/*", "./usr/lib/*/gconv/*", "./usr/share/zoneinfo/*", "./usr/share/bash-completion/*", "./usr/share/lintian/*")
	if err := os.Rename(made, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// makeRepository makes a git repository with two versions of some files.
func makeRepository(t *testing.T, dir string) {
	t.Helper()
	run(t, "sh", "-ec", `
		export HOME=/nonexistent GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
		export GIT_AUTHOR_DATE=1600000000 GIT_COMMITTER_DATE=1600000000
		git init -q -b main "$0"
		cd "$0"
		for n in $(seq 120); do echo "$n" >"file $n"; done
		ln -s 'file 1' link
		mkdir -p a/b/c
		seq 100000 >a/b/c/large
		git add . && git commit -q -m one && git tag v1
		for n in $(seq 60); do echo "$n again" >"file $n"; done
		git rm -q 'file 100' && git mv a d && chmod +x 'file 3' && git add . && git commit -q -m two && git tag v2
	`, dir)
}

// makeMany makes those files of the large directory that are there when the
// guest begins, the same in every root.
func makeMany(t *testing.T, dir string) {
	t.Helper()
	err := os.MkdirAll(dir, 0o755)
	for i := range theLength().madeBefore {
		name := filepath.Join(dir, numbered(i))
		if err == nil {
			err = os.WriteFile(name, nil, 0o644)
		}
		if err == nil {
			err = os.Chtimes(name, time.Unix(1600000000, 0), time.Unix(1600000000, 0))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
