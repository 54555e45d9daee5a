//go:build e2e || soak

package linuxclient

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/nfs/posix"
)

var posixNotes = flag.String("posix.notes", "", "a directory that keeps what the cases note")

// posixSizes are the sizes of the cases by their names.
var posixSizes = map[string]posix.Size{"short": posix.Short(), "whole": posix.Whole()}

// posixWork runs the cases of package posix in dir and writes what they note to file.
func posixWork(size, dir, file string) error {
	cases, ok := posixSizes[size]
	if !ok {
		return fmt.Errorf("no size %q", size)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(posix.Run(dir, posix.Cases(cases), f), f.Close())
}

// preparePOSIX makes a directory for the cases.
func preparePOSIX(t *testing.T, dir string, size posix.Size) {
	t.Helper()
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = posix.Prepare(dir, posix.Cases(size))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// comparePOSIX checks that the notes in two files differ by the known rules only, and returns
// those rules.
func comparePOSIX(t *testing.T, local, mounted string) (met map[string]bool) {
	t.Helper()
	want, err := os.ReadFile(local)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(mounted)
	if err != nil {
		t.Fatal(err)
	}
	if name := filepath.Join(*posixNotes, filepath.Base(mounted)); *posixNotes != "" {
		if err := errors.Join(os.WriteFile(name+".local", want, 0o644), os.WriteFile(name+".nfs", got, 0o644)); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(string(want), "ENOSPC") {
		t.Error("the local file system is full; want room for all cases")
	}
	differences, met := posix.Compare(string(want), string(got))
	t.Logf("%d notes, %d differences", strings.Count(string(want), "\n"), len(differences))
	for _, d := range differences[:min(len(differences), maxDifferences)] {
		t.Error(d)
	}
	return met
}
