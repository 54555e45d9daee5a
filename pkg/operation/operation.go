// Package operation makes templates for whoever asks the daemon to: each in a process of its own.
// The daemon's sandbox does not permit what a build needs, and a build ends neither with the
// request that began it nor with the daemon.
//
// An operation is a directory below Keeper.Dir. order.json says what to make, and status.json how
// far that is. The process that works on it locks the directory, so that everybody can tell when it
// was killed; what it leaves then is removed by the next one, as after a killed command.
package operation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/durable"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/debian"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/sshkeys"
)

// A Recipe is how a template is made.
type Recipe string

// The recipes.
const (
	Minimal Recipe = "minimal" // a small system, made for transcoding alone
	Debian  Recipe = "debian"  // a full Debian
	Import  Recipe = "import"  // of a disk image or a tar archive
	FromPi  Recipe = "from-pi" // of the root of a board
)

// An Order says which template to make. The zero values of what a recipe does not have are right.
type Order struct {
	Name           string   `json:"name"`
	Recipe         Recipe   `json:"recipe"`
	Release        string   `json:"release,omitempty"`         // of Debian; "" means bookworm
	Mirror         string   `json:"mirror,omitempty"`          // of Debian's packages; "" means deb.debian.org
	Arch           pi.Arch  `json:"arch,omitempty"`            // of a full Debian; "" means arm64
	Packages       []string `json:"packages,omitempty"`        // added to a full Debian
	AuthorizedKeys string   `json:"authorized_keys,omitempty"` // lines for authorized_keys, not of the minimal template
	KeepPassword   bool     `json:"keep_password,omitempty"`   // of an import's source, or a board
	AllowMismatch  bool     `json:"allow_mismatch,omitempty"`  // import even if kernel modules or firmware files are missing

	// Where it is made, and what from; the daemon says that.
	StateDir string    `json:"state_dir"`
	MinFree  int64     `json:"min_free,omitempty"`  // as rootfs.Templates takes it
	MediaDir string    `json:"media_dir,omitempty"` // has Source; "": it is an upload
	Source   string    `json:"source,omitempty"`    // a path in MediaDir, what the upload is called, or the board's name
	Upload   string    `json:"upload,omitempty"`    // its file, which is removed once the template is there
	Board    pi.Serial `json:"board,omitzero"`      // whose root it is made of
}

// Check returns what is wrong with an order, as a pi.RequestError.
func (o Order) Check() error {
	if err := rootfs.CheckName(o.Name); err != nil {
		return pi.InvalidField("name", err)
	}
	build := debian.BuildOptions{Mirror: o.Mirror, Release: o.Release}
	switch o.Recipe {
	case Minimal:
		return pi.InvalidField("release", build.Complete())
	case Debian:
		full := debian.Options{BuildOptions: build, Arch: o.Arch, Packages: o.Packages, AuthorizedKeys: o.AuthorizedKeys}
		return pi.InvalidField("", full.Complete())
	case Import, FromPi:
		return pi.InvalidField("authorized_keys", sshkeys.CheckAuthorized(o.AuthorizedKeys))
	}
	return pi.InvalidField("recipe", fmt.Errorf("recipe: got %q; want minimal, debian, import or from-pi", o.Recipe))
}

// A State is what has become of an operation.
type State string

// The states. An operation waits while another one works.
const (
	Waiting   State = "waiting"
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Ended reports whether nothing more will happen.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// An Operation is a template that is being made, or was.
type Operation struct {
	ID      int64     `json:"id"`
	Name    string    `json:"name"` // of the template
	Recipe  Recipe    `json:"recipe"`
	Source  string    `json:"source,omitempty"` // a path in the media share, what the upload is called, or a board's name
	Created time.Time `json:"created"`
	Status
}

// A Status is how far an operation is; status.json has it.
type Status struct {
	State    State             `json:"state"`
	Step     string            `json:"step,omitempty"`
	Done     int64             `json:"done,omitempty"`
	Total    int64             `json:"total,omitempty"`    // 0: unknown
	Template string            `json:"template,omitempty"` // NAME@VERSION, once it is there
	Changes  []filetree.Change `json:"changes,omitempty"`  // what had to be changed in the source
	Error    string            `json:"error,omitempty"`
	Ended    time.Time         `json:"ended,omitzero"`
}

// The files of an operation's directory.
const (
	orderFile  = "order.json"
	statusFile = "status.json"
	cancelFile = "cancel" // is there once somebody has cancelled it
)

func readJSON(name string, into any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func writeJSON(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.WriteFile(name, text, 0o600)
}

// errKilled is the error of an operation whose process has gone without a word.
const errKilled = "its process was ended; unless the template is there, make it again: nothing half-made is left of it"

// read returns the operation in dir. launched is true if a process was started for it that has
// not come back yet. The error matches fs.ErrNotExist if there is none.
func read(dir string, id int64, launched bool) (Operation, error) {
	var o Order
	if err := readJSON(filepath.Join(dir, orderFile), &o); err != nil {
		return Operation{}, err
	}
	info, err := os.Stat(filepath.Join(dir, orderFile))
	if err != nil {
		return Operation{}, err
	}
	op := Operation{ID: id, Name: o.Name, Recipe: o.Recipe, Source: o.Source, Created: info.ModTime()}
	locked := isLocked(dir) // before the status is read, which is the last thing that its holder writes
	if err := readJSON(filepath.Join(dir, statusFile), &op.Status); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Operation{}, err
	}
	switch {
	case op.State.Ended():
	case !locked && !launched:
		op.State, op.Error, op.Ended = Failed, errKilled, op.Created
	case op.State == "":
		op.State = Waiting
	}
	return op, nil
}

// lock locks a file or directory until the returned file is closed, and waits for
// others who only look whether it is locked.
func lock(name string, how int) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), file.Close())
	}
	return file, nil
}

func isLocked(dir string) bool {
	file, err := lock(dir, unix.LOCK_SH|unix.LOCK_NB)
	if err != nil {
		return errors.Is(err, unix.EWOULDBLOCK)
	}
	return file.Close() != nil
}
