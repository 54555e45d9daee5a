package fleet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/timeline"
)

// existing answers a request for a board that is registered: nothing is done
// if it is as asked, and nothing is changed if it is not.
func (f *Fleet) existing(ctx context.Context, board registry.Pi, r Request) (Added, error) {
	differs, remedies, err := differences(board, r)
	if err != nil {
		return Added{}, err
	}
	if len(differs) > 0 {
		return Added{}, pi.Conflicting("", fmt.Errorf("fleet: board %s is registered already, with %s; change it with pibootd %s",
			board.Serial, strings.Join(differs, ", "), strings.Join(remedies, " and ")))
	}
	added := Added{Pi: board, Existed: true, Export: f.RootPath(board.Serial)}
	proof, err := f.open(ctx, board)
	added.Proof = proof
	return added, err
}

// differences lists in what board is not as r asks, and the commands that would
// change that. What r leaves open is no difference.
func differences(board registry.Pi, r Request) (differs, remedies []string, err error) {
	note := func(remedy string, what ...string) {
		if len(what) > 0 {
			differs, remedies = append(differs, what...), append(remedies, remedy)
		}
	}
	if r.MAC != board.MAC {
		note("remove-pi "+board.Name+" (it asks first) before this", fmt.Sprintf("address %s, not %s", board.MAC, r.MAC))
	}
	if !isTemplate(r.Template, board.Root) {
		note(fmt.Sprintf("upgrade-pi %s --to %s", board.Name, r.Template), fmt.Sprintf("template %s@%d, not %s", board.Template, board.Version, r.Template))
	}
	method, err := parseMethod(r.Clone)
	if err != nil {
		return nil, nil, err
	}
	if board.Clone != "" && !method.Allows(rootfs.CloneMethod(board.Clone)) {
		note(fmt.Sprintf("reset-pi %s --clone %s", board.Name, method), fmt.Sprintf("a root made by %s, not %s", board.Clone, method))
	}
	var edit []string
	if r.Name != "" && r.Name != board.Name {
		edit = append(edit, fmt.Sprintf("name %s, not %s", board.Name, r.Name))
	}
	if r.IP.IsValid() && r.IP != board.IP {
		edit = append(edit, fmt.Sprintf("IP %s, not %s", board.IP, r.IP))
	}
	note("edit-pi "+board.Name, append(edit, settingsDiffer(board.Settings, r.Settings)...)...)
	return differs, remedies, nil
}

// isTemplate reports whether ref, a NAME or NAME@VERSION, or "" for any, names
// what a root was cloned from.
func isTemplate(ref string, root registry.Root) bool {
	name, version, versioned := strings.Cut(ref, "@")
	return name == "" || name == root.Template && (!versioned || version == strconv.Itoa(root.Version))
}

func settingsDiffer(is, asked registry.Settings) []string {
	var out []string
	table := asked.Table()
	for i, setting := range is.Table() {
		if got, want := setting.String(), table[i].String(); got != want {
			out = append(out, fmt.Sprintf("%s %s, not %s", setting.Name, got, want))
		}
	}
	return out
}

// open exports a board's root, its scratch and the media share to the board, and
// proves these exports.
func (f *Fleet) open(ctx context.Context, board registry.Pi) ([]string, error) {
	if err := f.NFS.Export(f.rootExport(board)); err != nil {
		return nil, err
	}
	if err := f.exportScratch(board); err != nil {
		return nil, err
	}
	if err := f.exportMedia(); err != nil {
		return nil, err
	}
	return f.Prove(ctx, board)
}

// Prove tries a board's exports as that board would use them. It describes what
// worked; the error says what did not.
func (f *Fleet) Prove(ctx context.Context, board registry.Pi) ([]string, error) {
	var proof []string
	for _, export := range []struct {
		path string
		want probe.File
	}{
		{f.RootPath(board.Serial), probe.File{Name: "sbin/init", Write: !board.Settings.Volatile}},
		{f.mediaPath(), probe.File{}},
		{f.scratchPath(board.Serial), probe.File{Write: true}},
	} {
		report, err := f.NFS.Probe(ctx, board.IP, f.Network.Addr(), export.path, export.want)
		if err != nil {
			return proof, err
		}
		proof = append(proof, proofText(board, export.path, report))
	}
	return proof, nil
}

// proofText describes what a probe has shown.
func proofText(board registry.Pi, export string, report probe.Report) string {
	text := fmt.Sprintf("%s mounted by %s", export, report.From)
	if report.Read > 0 {
		text += fmt.Sprintf(", %s read", report.File)
	}
	if report.Written > 0 {
		text += ", a file written, read back and removed"
	}
	if report.From != board.IP {
		text += fmt.Sprintf("; open to %s by nfsd's list, a mount from there was not tried", board.IP)
	}
	return text
}

// Remove removes a board: it is no longer answered, its export is closed and its
// root deleted. With keepRoot the root is archived instead, and kept is its path. If
// Remove is interrupted, the board is either still registered, or the next Start
// archives its root.
func (f *Fleet) Remove(ctx context.Context, ref string, keepRoot bool) (board registry.Pi, kept string, err error) {
	board, end, err := f.begin(ctx, ref)
	if err != nil {
		return registry.Pi{}, "", err
	}
	defer end()
	if err := f.Registry.Remove(ctx, board.Serial); err != nil {
		return registry.Pi{}, "", err
	}
	err = f.NFS.Unexport(f.RootPath(board.Serial))
	f.record(board, timeline.Removed, "")
	err = errors.Join(err, f.removeScratch(board), f.exportMedia(), f.Disconnect(board.Serial.String()))
	if keepRoot {
		archived, keepErr := f.Roots.Archive(board.Serial, origin(board, "the board was removed"))
		return board, f.Roots.ArchivedPath(archived), errors.Join(err, keepErr)
	}
	return board, "", errors.Join(err, f.Roots.Remove(board.Serial))
}

// BootFiles are the files that pibootd makes for a board.
type BootFiles struct {
	CommandLine string `json:"cmdline_txt"`
	Config      string `json:"config_txt"`
	// CommandLineFile is the name of the first in the boot directory, "current/cmdline.txt"
	// with os_prefix.
	CommandLineFile string `json:"cmdline_file"`
}

// BootFiles returns what the board would be served now.
func (f *Fleet) BootFiles(board registry.Pi) (BootFiles, error) {
	made, err := f.Policy.Preview(board)
	return BootFiles{CommandLine: made.CommandLine, Config: made.Config, CommandLineFile: made.CommandLineFile}, err
}
