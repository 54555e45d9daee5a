package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/bootcheck"
)

// A Template is a version of a template, and who uses it.
type Template struct {
	rootfs.Template
	Users      []string             `json:"users"`                // the boards whose root is a clone of it
	Kept       []string             `json:"kept,omitempty"`       // archived roots that need it
	Mismatches []bootcheck.Mismatch `json:"mismatches,omitempty"` // boot files that do not match the rest of it; only of a single one
}

// A NewTemplate says which template to make.
type NewTemplate struct {
	Name           string           `json:"name"`
	Recipe         operation.Recipe `json:"recipe"`                    // minimal, debian, import or from-pi
	Release        string           `json:"release,omitempty"`         // of Debian; "" means bookworm
	Mirror         string           `json:"mirror,omitempty"`          // of Debian's packages; "" means deb.debian.org
	Arch           string           `json:"arch,omitempty"`            // of a full Debian: arm64, or armhf; "" means arm64
	Packages       []string         `json:"packages,omitempty"`        // to add to a full Debian
	AuthorizedKeys string           `json:"authorized_keys,omitempty"` // ssh public keys, a line each, that may log in
	KeepPassword   bool             `json:"keep_password,omitempty"`   // keep the passwords of an import's source, or of a board
	AllowMismatch  bool             `json:"allow_mismatch,omitempty"`  // import even if kernel modules or firmware files are missing
	Path           string           `json:"path,omitempty"`            // what to import, in the media share
	Upload         string           `json:"upload,omitempty"`          // or the id of a complete upload for a template
	Board          string           `json:"board,omitempty"`           // whose root to copy: its name, serial number or address
	Force          bool             `json:"force,omitempty"`           // copy the root of a board that runs, although files that it writes meanwhile may be incomplete
}

func (s *Server) listTemplates(w http.ResponseWriter, _ *http.Request) {
	all, err := s.Templates.List()
	if err != nil {
		s.refuse(w, err)
		return
	}
	out := []Template{}
	for _, t := range all {
		t.Kernels = list(t.Kernels)
		out = append(out, Template{Template: t, Users: list(s.Fleet.TemplateUsers(t))})
	}
	s.reply(w, out)
}

func (s *Server) showTemplate(w http.ResponseWriter, r *http.Request) {
	out, err := s.describeTemplate(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, out)
}

func (s *Server) describeTemplate(ref string) (out Template, err error) {
	if out.Template, err = s.Templates.Find(ref); err != nil {
		return Template{}, err
	}
	if out.Mismatches, err = s.Templates.CheckBoot(out.Template, ""); err != nil {
		return Template{}, err
	}
	if out.Boards, err = s.Templates.Supported(out.Template); err != nil {
		return Template{}, err
	}
	out.Kernels, out.Users = list(out.Kernels), list(s.Fleet.TemplateUsers(out.Template))
	out.Kept, err = s.Roots.ArchivedOver(out.Template)
	return out, err
}

// makeTemplate begins to make a template. The answer is an operation, which goes on
// without its client, and without the daemon.
func (s *Server) makeTemplate(w http.ResponseWriter, r *http.Request) {
	var asked NewTemplate
	err := decode(w, r, &asked)
	var order operation.Order
	if err == nil {
		order, err = s.order(asked)
	}
	var op operation.Operation
	if err == nil {
		op, err = s.Operations.Begin(order)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.live.nudge()
	w.Header().Set("Location", "/api/v1/operations/"+strconv.FormatInt(op.ID, 10))
	reply(w, s.Log, http.StatusAccepted, op)
}

// order turns a request into what a process can make without the daemon.
func (s *Server) order(asked NewTemplate) (o operation.Order, err error) {
	o = operation.Order{
		Name: asked.Name, Recipe: asked.Recipe, Release: asked.Release, Mirror: asked.Mirror, Packages: asked.Packages, AuthorizedKeys: asked.AuthorizedKeys,
		KeepPassword: asked.KeepPassword, AllowMismatch: asked.AllowMismatch, StateDir: s.Info.StateDir, MinFree: s.MinFree,
	}
	switch asked.Arch {
	case "", "arm64":
	case "armhf":
		o.Arch = pi.ARMv7
	default:
		return o, pi.InvalidField("arch", fmt.Errorf("arch: got %.40q; want arm64 or armhf", asked.Arch))
	}
	if o.StateDir, err = filepath.Abs(o.StateDir); err != nil {
		return o, err
	}
	switch asked.Recipe {
	case operation.Import:
		err = s.findSource(asked, &o)
	case operation.FromPi:
		err = s.findRoot(asked, &o)
	}
	return o, err
}

// findRoot finds the board whose root an order copies.
func (s *Server) findRoot(asked NewTemplate, o *operation.Order) error {
	board, err := s.Registry.Find(asked.Board)
	if err != nil {
		return pi.InvalidField("board", err)
	}
	if s.workers()[board.Serial.String()].Online && !asked.Force {
		return pi.Conflicting("board", fmt.Errorf("%s is running and would change files while they are copied; shut it down first, or force it", board.Name))
	}
	o.Board, o.Source = board.Serial, board.Name
	return nil
}

// findSource finds what an order imports.
func (s *Server) findSource(asked NewTemplate, o *operation.Order) (err error) {
	switch {
	case (asked.Path == "") == (asked.Upload == ""):
		err = pi.InvalidField("path", errors.New("want either the path of a file in the media share or the id of an upload"))
	case asked.Upload != "":
		o.Source, o.Upload, err = s.findImage(asked.Upload)
	default:
		o.Source, o.MediaDir = asked.Path, s.Info.MediaDir
		err = s.checkSource(asked.Path)
	}
	return err
}

// checkSource verifies that there is a file in the media share to import.
func (s *Server) checkSource(name string) error {
	file, _, err := openMedia(s.Info.MediaDir, filepath.Clean(name), isHidden)
	if err != nil || isHidden(name) {
		return pi.InvalidField("path", fmt.Errorf("there is no file %.200q in the media share %s", name, s.Info.MediaDir))
	}
	return file.Close()
}

// findImage returns the name and the file of an upload for a template, which has to be
// complete.
func (s *Server) findImage(id string) (name, file string, err error) {
	unknown := pi.InvalidField("upload", errors.New("there is no such upload for a template; it may have expired"))
	root, err := os.OpenRoot(s.images.dir)
	if err != nil {
		return "", "", unknown
	}
	defer root.Close()
	p, err := s.images.read(root, id)
	if err != nil {
		return "", "", unknown
	}
	if p.Offset < p.SizeBytes {
		return "", "", pi.Conflicting("upload", fmt.Errorf("%d of %d bytes have arrived; upload the rest first", p.Offset, p.SizeBytes))
	}
	dir, err := filepath.Abs(s.images.dir)
	return p.Path, filepath.Join(dir, partOf(id)), err
}

func (s *Server) removeTemplate(w http.ResponseWriter, r *http.Request) {
	t, err := s.Fleet.RemoveTemplate(r.PathValue("ref"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	t.Kernels = list(t.Kernels)
	s.live.nudge()
	s.reply(w, t)
}

func (s *Server) listOperations(w http.ResponseWriter, _ *http.Request) {
	all, err := s.Operations.List()
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(all))
}

func (s *Server) showOperation(w http.ResponseWriter, r *http.Request) {
	s.withOperation(w, r, s.Operations.Find)
}

// cancelOperation cancels an operation, or forgets one that has ended.
func (s *Server) cancelOperation(w http.ResponseWriter, r *http.Request) {
	s.withOperation(w, r, s.Operations.Cancel)
	s.live.nudge()
}

func (s *Server) withOperation(w http.ResponseWriter, r *http.Request, do func(id int64) (operation.Operation, error)) {
	id, err := number(r, "operation")
	var op operation.Operation
	if err == nil {
		op, err = do(id)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, op)
}

// Templates returns all versions of all templates.
func (c *Client) Templates(ctx context.Context) ([]Template, error) {
	return get[[]Template](ctx, c, "/api/v1/templates")
}

// Template returns a version of a template, by NAME or NAME@VERSION, with all that is known of it.
func (c *Client) Template(ctx context.Context, ref string) (Template, error) {
	return get[Template](ctx, c, "/api/v1/templates/"+url.PathEscape(ref))
}

// MakeTemplate begins to make a template; see Operation.
func (c *Client) MakeTemplate(ctx context.Context, t NewTemplate) (operation.Operation, error) {
	return send[operation.Operation](ctx, c, http.MethodPost, "/api/v1/templates", t)
}

// RemoveTemplate removes a version of a template that nobody uses.
func (c *Client) RemoveTemplate(ctx context.Context, ref string) (rootfs.Template, error) {
	return send[rootfs.Template](ctx, c, http.MethodDelete, "/api/v1/templates/"+url.PathEscape(ref), nil)
}

// Operation returns how far an operation is.
func (c *Client) Operation(ctx context.Context, id int64) (operation.Operation, error) {
	return get[operation.Operation](ctx, c, fmt.Sprintf("/api/v1/operations/%d", id))
}

// CancelOperation cancels an operation, or forgets one that has ended.
func (c *Client) CancelOperation(ctx context.Context, id int64) (operation.Operation, error) {
	return send[operation.Operation](ctx, c, http.MethodDelete, fmt.Sprintf("/api/v1/operations/%d", id), nil)
}
