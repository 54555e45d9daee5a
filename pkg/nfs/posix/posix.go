// Package posix has cases of what POSIX and Linux say of files: names, modes, links, times,
// data. It is for tests alone. A case works in a directory of its own and notes what every call
// returns, as lines of text. Two file systems that behave alike make it note the same lines, so
// a mounted export is compared with the file system below it.
package posix

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Case is a property of file systems.
type Case struct {
	Name string // of its directory, too

	// Given makes what is there before the file system is mounted or cloned; nil: nothing.
	Given func(*Recorder)
	Run   func(*Recorder)
}

// A Size is how much the cases do that do something many times.
type Size struct {
	Names int // in the directories that change while they are listed
	Every int // of the tables of all calls with all kinds of files, every so many rows
}

// Short and Whole are the sizes for every run of the tests and for the long ones.
func Short() Size { return Size{Names: 200, Every: 8} }
func Whole() Size { return Size{Names: 1000, Every: 1} }

// Cases returns all cases of that size.
func Cases(size Size) []Case {
	var all []Case
	for _, some := range [][]Case{
		names(), loops(), modes(), owners(), accesses(), renames(), links(), symlinks(),
		times(), changes(), sizes(), data(), removals(), listings(size), nodes(), locks(), mappings(), others(), given(),
	} {
		all = append(all, some...)
	}
	for _, table := range [][]Case{kinds(), setIDs(), stickies(), opens()} {
		for i := 0; i < len(table); i += size.Every {
			all = append(all, table[i])
		}
	}
	return all
}

// tickName is a file beside the cases' directories; see Recorder.tick.
const tickName = "tick"

// Prepare makes the directory of each case in dir, which is empty, and what it has there before
// it runs. Every user may work in it.
func Prepare(dir string, cases []Case) error {
	if err := os.WriteFile(filepath.Join(dir, tickName), nil, 0o666); err != nil {
		return err
	}
	return each(dir, cases, func(r *Recorder, c Case) error {
		err := errors.Join(os.Mkdir(r.dir, 0o755), os.Chmod(r.dir, 0o777))
		if err == nil && c.Given != nil {
			err = r.thread(root, func(r *Recorder) { c.Given(r) })
		}
		for _, line := range *r.lines {
			if !strings.HasSuffix(line, ": ok") {
				err = errors.Join(err, errors.New(line))
			}
		}
		return err
	})
}

// Run runs the cases in dir, which Prepare has prepared, and writes what they note to w.
func Run(dir string, cases []Case, w io.Writer) error {
	return each(dir, cases, func(r *Recorder, c Case) error {
		err := r.thread(root, func(r *Recorder) { c.Run(r) })
		for _, line := range *r.lines {
			_, writeErr := fmt.Fprintf(w, "%s\t%s\n", c.Name, line)
			err = errors.Join(err, writeErr)
		}
		return err
	})
}

func each(dir string, cases []Case, f func(*Recorder, Case) error) error {
	tick, err := os.Open(filepath.Join(dir, tickName))
	if err != nil {
		return err
	}
	defer tick.Close()
	for _, c := range cases {
		r := &Recorder{dir: filepath.Join(dir, directoryOf(c)), ticker: int(tick.Fd()), lines: new([]string)}
		if err := f(r, c); err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	return nil
}

// directoryOf is the name of a case's directory.
func directoryOf(c Case) string { return strings.NewReplacer("/", "-", " ", "_").Replace(c.Name) }

// errnoName is how an error is noted.
func errnoName(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
