package rootfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
)

// formerWorkerFile is the worker that a root had before it was updated: a board
// that runs it reads it by the page, and could not go on without.
const formerWorkerFile = "usr/lib/pibootd/.pibootd-worker.former"

// A WorkerUpdate brings the workers in the roots of boards up to date, one after
// the other.
type WorkerUpdate struct {
	roots    *Roots
	programs map[pi.Arch][]byte // those that were unpacked
}

// UpdateWorkers begins an update of the workers in roots.
func (r *Roots) UpdateWorkers() *WorkerUpdate {
	return &WorkerUpdate{roots: r, programs: make(map[pi.Arch][]byte)}
}

// Root gives the root of a board this pibootd's worker and tells that of this
// machine, and reports whether anything was not so before. Whatever else its
// configuration says stays. The board may be running; a worker that runs uses
// what is new when it is started again.
func (u *WorkerUpdate) Root(serial pi.Serial, arch pi.Arch, services Services) (changed bool, err error) {
	program, err := u.program(arch)
	change := u.roots.change(serial, func(root *os.Root) error {
		changed, err = updateWorker(root, program, services, err)
		return err
	})
	if change != nil {
		return changed, fmt.Errorf("rootfs: updating the worker in the root of %s: %w", serial, change)
	}
	return changed, nil
}

func (u *WorkerUpdate) program(arch pi.Arch) ([]byte, error) {
	if program, ok := u.programs[arch]; ok {
		return program, nil
	}
	program, err := u.roots.workerFor(arch)
	if err == nil {
		u.programs[arch] = program
	}
	return program, err
}

// updateWorker replaces the program first: an earlier one refuses a
// configuration with keys that it does not know, while ours says what it misses
// in an earlier one. So a board whose update was interrupted, or failed because
// there is no program, has two that go together.
func updateWorker(root *os.Root, program []byte, services Services, none error) (changed bool, err error) {
	failed := none
	if none == nil {
		changed, failed = putProgram(root, program)
	}
	told, err := setServices(root, services, failed == nil)
	return changed || told, errors.Join(failed, err)
}

// putProgram gives a root the worker's program, unless it has it.
func putProgram(root *os.Root, program []byte) (changed bool, err error) {
	dir, err := confine.MakeDir(root, path.Dir(WorkerFile))
	if err != nil {
		return false, err
	}
	defer dir.Close()
	at, base, former := int(dir.Fd()), path.Base(WorkerFile), path.Base(formerWorkerFile)
	// What is in the way of former, or is none of ours, is only not kept.
	_ = unix.Unlinkat(at, former, 0)
	if hasProgram(root, program) {
		return false, nil
	}
	_ = unix.Linkat(at, base, at, former, 0)
	return true, confine.ReplaceFile(root, WorkerFile, program, workerMode)
}

const (
	workerMode       = 0o755
	workerConfigMode = 0o600 // there is a token in it
)

// hasProgram reports whether a root's worker is this one, and can be started.
func hasProgram(root *os.Root, program []byte) bool {
	file, info, err := confine.OpenRegular(root, WorkerFile)
	if err != nil {
		return false
	}
	defer file.Close()
	if info.Size() != int64(len(program)) || info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid) != workerMode {
		return false
	}
	is := make([]byte, 64<<10)
	for len(program) > 0 {
		n, err := file.Read(is)
		if n > len(program) || !bytes.Equal(is[:n], program[:n]) || err != nil {
			return false
		}
		program = program[n:]
	}
	_, err = file.Read(is[:1])
	return errors.Is(err, io.EOF)
}

// setServices changes what the worker's configuration says of this machine, and
// reports whether anything had to be. Without add, it says nothing that it did
// not say.
func setServices(root *os.Root, services Services, add bool) (changed bool, err error) {
	text, err := confine.ReadText(root, WorkerConfigFile)
	if err != nil {
		return false, fmt.Errorf("%w; the board's token is in it, and nobody else has that: pibootd reset-pi gives the board a new one", err)
	}
	want, err := json.Marshal(services)
	if err != nil {
		return false, err
	}
	var all, keys map[string]json.RawMessage
	if err := json.Unmarshal(want, &keys); err != nil {
		return false, err
	}
	// What is in it may be a secret, so it is not told; "null" is no object either.
	if err := json.Unmarshal(text, &all); err != nil || all == nil {
		return false, fmt.Errorf("%s is no JSON object; pibootd reset-pi gives the board a new one", WorkerConfigFile)
	}
	for key, value := range keys {
		is, has := all[key]
		if (has || add) && !bytes.Equal(is, value) { // text and numbers: one form each
			all[key], changed = value, true
		}
	}
	if !changed {
		return false, nil
	}
	if text, err = json.MarshalIndent(all, "", "\t"); err != nil {
		return false, err
	}
	return true, confine.ReplaceFile(root, WorkerConfigFile, append(text, '\n'), workerConfigMode)
}
