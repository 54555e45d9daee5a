// Package skew builds programs for tests whose clock is off by what a file says. Go asks the kernel
// for the time, past any library, and the kernel has one clock for all, so package time itself is
// another in such a program.
package skew

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// File is the variable in a program's environment that names its clock's file.
const File = "SKEW_FILE"

// timeNow is how package time's Now begins. skewedNow is the rest of it, by a file that is mapped
// into memory, since the runtime calls it where no call of the kernel is possible. A program
// without such a file has the machine's clock.
const (
	timeNow   = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	skewedNow = timeNow + "\tif skew != nil {\n\t\tsec += *skew\n\t}\n"
	mapSkew   = `
var skew = mapSkew()

func mapSkew() *int64 {
	name, ok := syscall.Getenv("` + File + `")
	if !ok {
		return nil
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		panic("opening " + name + ": " + err.Error())
	}
	seconds, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	_ = syscall.Close(fd)
	if err != nil {
		panic("mapping " + name + ": " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&seconds[0]))
}
`
)

// Build builds the program whose package is in the current directory, and returns its file.
func Build(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), timeNow, skewedNow, 1)
	changed = strings.Replace(changed, "\nimport (\n", "\nimport (\n\t\"syscall\"\n\t\"unsafe\"\n", 1) + mapSkew
	if !strings.Contains(changed, skewedNow) || !strings.Contains(changed, "\"syscall\"") {
		t.Fatalf("%s has no longer the lines that are changed", source)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: filepath.Join(dir, "time.go")}})
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "time.go"), []byte(changed), 0o644),
		os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building a program with another clock: %v\n%s", err, out)
	}
	return program
}

// Set sets how far the clocks of programs are off that have this file, to the second.
func Set(file string, offset time.Duration) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(offset/time.Second))), 0)
	return errors.Join(err, f.Close())
}
