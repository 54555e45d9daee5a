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

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
)

// A WorkerUpdate updates the workers in the roots of boards, one after the other.
type WorkerUpdate struct {
	roots    *Roots
	programs map[pi.Arch][]byte // unpacked so far
}

// UpdateWorkers starts an update of the workers in roots.
func (r *Roots) UpdateWorkers() *WorkerUpdate {
	return &WorkerUpdate{roots: r, programs: make(map[pi.Arch][]byte)}
}

// Root installs this pibootd's worker in the root of a board, writes services to its
// configuration, and reports whether either changed. It keeps the rest of the configuration. The
// board may be running; a running worker uses the new files after its next start.
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

// updateWorker replaces the program first, because an older worker rejects a configuration with
// keys that it does not know, while the new one reports which keys are missing from an older
// configuration. So a board whose update was interrupted, or failed because there is no program,
// has a worker and a configuration that fit each other.
func updateWorker(root *os.Root, program []byte, services Services, none error) (changed bool, err error) {
	failed := none
	if none == nil {
		changed, failed = putProgram(root, program)
	}
	told, err := setServices(root, services, failed == nil)
	return changed || told, errors.Join(failed, err)
}

// putProgram writes the worker's program into a root, unless the root already has it.
func putProgram(root *os.Root, program []byte) (changed bool, err error) {
	dir, err := confine.MakeDir(root, path.Dir(images.WorkerFile))
	if err != nil {
		return false, err
	}
	defer dir.Close()
	at, base, former := int(dir.Fd()), path.Base(images.WorkerFile), path.Base(images.FormerWorkerFile)
	// If former cannot be removed or linked, the old program is not kept. That is no error.
	_ = unix.Unlinkat(at, former, 0)
	if hasProgram(root, program) {
		return false, nil
	}
	_ = unix.Linkat(at, base, at, former, 0)
	return true, confine.ReplaceFile(root, images.WorkerFile, program, workerMode)
}

const (
	workerMode       = 0o755
	workerConfigMode = 0o600 // it contains a token
)

// hasProgram reports whether a root's worker is this program and is executable.
func hasProgram(root *os.Root, program []byte) bool {
	file, info, err := confine.OpenRegular(root, images.WorkerFile)
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

// setServices updates the services in the worker's configuration and reports whether it changed
// anything. Without add, it does not add keys that are missing.
func setServices(root *os.Root, services Services, add bool) (changed bool, err error) {
	text, err := confine.ReadText(root, images.WorkerConfigFile)
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
	// The error does not quote the text, which may be a secret. "null" is not an object either.
	if err := json.Unmarshal(text, &all); err != nil || all == nil {
		return false, fmt.Errorf("%s is no JSON object; pibootd reset-pi gives the board a new one", images.WorkerConfigFile)
	}
	for key, value := range keys {
		is, has := all[key]
		if (has || add) && !bytes.Equal(is, value) { // text and numbers have one encoding each
			all[key], changed = value, true
		}
	}
	if !changed {
		return false, nil
	}
	if text, err = json.MarshalIndent(all, "", "\t"); err != nil {
		return false, err
	}
	return true, confine.ReplaceFile(root, images.WorkerConfigFile, append(text, '\n'), workerConfigMode)
}
