package web

import (
	"context"
	"iter"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// The interfaces of pibootd's other packages that a Server uses.

// A Registry knows the boards and the other machines. *registry.Registry implements
// it.
type Registry interface {
	Boards
	Machines
}

// Boards finds registered and discovered boards.
type Boards interface {
	All() []registry.Pi
	Find(ref string) (registry.Pi, error)
	Discovered() []registry.Discovered
}

// Machines finds the workers that are not boards.
type Machines interface {
	Machines() []registry.Machine
	FindMachine(ref string) (registry.Machine, error)
	UpdateMachine(ctx context.Context, name string, change func(*registry.Machine)) (registry.Machine, error)
}

// A Fleet changes boards and machines. *fleet.Fleet implements it.
type Fleet interface {
	BoardChanger
	RootChanger
	MachineChanger
	BootFiles(registry.Pi) (fleet.BootFiles, error)
	TemplateUsers(rootfs.Template) []string
	RemoveTemplate(ref string) (rootfs.Template, error)
}

// A BoardChanger adds, edits and removes boards.
type BoardChanger interface {
	Add(context.Context, fleet.Request, rootfs.Progress) (fleet.Added, error)
	Edit(ctx context.Context, ref string, e fleet.Edit) (fleet.Edited, error)
	Remove(ctx context.Context, ref string, keepRoot bool) (registry.Pi, string, error)
}

// A RootChanger replaces and compares the roots of boards.
type RootChanger interface {
	Reset(ctx context.Context, ref, template, clone string, progress rootfs.Progress) (fleet.Replaced, error)
	Rollback(ctx context.Context, ref, kept string) (fleet.Replaced, error)
	Drift(ctx context.Context, ref string, progress rootfs.Progress) (registry.Pi, []filetree.Change, error)
}

// A MachineChanger adds and removes machines that are not boards.
type MachineChanger interface {
	AddMachine(context.Context, registry.Machine) (added registry.Machine, token string, err error)
	RemoveMachine(ctx context.Context, name string) (registry.Machine, error)
}

// Roots has the boards' root file systems, including archived ones. *rootfs.Roots
// implements it.
type Roots interface {
	CheckBoot(pi.Serial, pi.Model) ([]bootcheck.Mismatch, error)
	Archived(pi.Serial) ([]rootfs.ArchivedRoot, error)
	FindArchived(serial pi.Serial, name string) (rootfs.ArchivedRoot, error)
	RemoveArchived(rootfs.ArchivedRoot) error
	ArchivedOver(rootfs.Template) ([]string, error)
}

// Templates has what roots are cloned from. *rootfs.Templates implements it.
type Templates interface {
	List() ([]rootfs.Template, error)
	Find(ref string) (rootfs.Template, error)
	CheckBoot(of rootfs.Template, model pi.Model) ([]bootcheck.Mismatch, error)
	Supported(of rootfs.Template) ([]pi.Model, error)
}

// Operations makes templates, each in a process of its own. *operation.Keeper implements it.
type Operations interface {
	Begin(operation.Order) (operation.Operation, error)
	List() ([]operation.Operation, error)
	Find(id int64) (operation.Operation, error)
	Cancel(id int64) (operation.Operation, error)
}

// A Queue has the jobs and their workers. *queue.Queue implements it.
type Queue interface {
	Jobs
	JobChanger
	Workers
	Streams
}

// Streams are the live streams.
type Streams interface {
	AddLive(context.Context, transcode.Request) (queue.Live, error)
	StopLive(ctx context.Context, name string) (queue.Live, error)
	Live(name string) (queue.Live, error)
	Lives() []queue.Live
	LiveKey(name string, renew bool) (string, error)
	LiveMaster(ctx context.Context, name string) ([]byte, error)
	LiveMedia(ctx context.Context, name, rendition string, place *queue.LivePlace) ([]byte, error)
	OpenLive(ctx context.Context, name, rendition, file string) (*queue.LiveFile, error)
}

// Jobs reads jobs.
type Jobs interface {
	Page(context.Context, queue.Page) ([]queue.Job, error)
	Job(ctx context.Context, id int64) (queue.Job, error)
	All(context.Context) ([]queue.Job, error)
	Latest(ctx context.Context, most int) ([]queue.Job, error)
	Outputs(context.Context) ([]string, error)
	Watch(ctx context.Context, id int64) iter.Seq2[queue.Job, error]
	Changes(context.Context) iter.Seq[[]int64]
	Preview(context.Context, transcode.Request) (queue.Preview, error)
	StreamFile(ctx context.Context, id int64, name string) (queue.StreamFile, error)
}

// A JobChanger submits jobs and changes them.
type JobChanger interface {
	Submit(context.Context, transcode.Request) (job queue.Job, existing bool, err error)
	SubmitAgain(context.Context, transcode.Request) (job queue.Job, existing bool, err error)
	Change(ctx context.Context, id int64, c queue.Change) (queue.Job, error)
	Retry(ctx context.Context, id int64) (job queue.Job, existing bool, err error)
	Cancel(ctx context.Context, id int64) error
	Remove(ctx context.Context, id int64) error
}

// Workers has the workers that have said hello.
type Workers interface {
	Workers() []queue.Worker
	Drain(ctx context.Context, worker string, on bool) error
	Relabel()
}

// A Timeline has the events of the boards. *timeline.Log implements it.
type Timeline interface {
	Events(ctx context.Context, board string, after int64, limit int) ([]timeline.Event, error)
	Last(ctx context.Context, board string) (e timeline.Event, ok bool, err error)
	Follow(ctx context.Context, board string, after int64) iter.Seq2[timeline.Event, error]
	Newest(context.Context) (int64, error)
	Dropped() int64
}

// Diagnoses says how far boards' boots have come. *diagnosis.Tracker implements it.
type Diagnoses interface {
	Of(context.Context, registry.Pi) (diagnosis.Diagnosis, error)
}

// A Doctor examines the installation. *doctor.Doctor implements it.
type Doctor interface {
	Examine(ctx context.Context, boards []string) ([]doctor.Finding, error)
}
