package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/config"
	"pibootd/pkg/operation"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/web"
)

func templateCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:   "template",
		Usage:  "build, import, compare and remove templates of roots",
		Action: unknownCommand,
		Subcommands: []*cli.Command{
			templateBuildCommand(std),
			templateImportCommand(std),
			templateFromPiCommand(std),
			templateMakeCommand(),
			{
				Name: "show", Usage: "show a template and the Pis that use it", ArgsUsage: "TEMPLATE",
				Flags:  templateFlags(),
				Action: func(c *cli.Context) error { return showTemplate(c, std) },
			},
			{
				Name: "diff", Usage: "list differences between two templates", ArgsUsage: "TEMPLATE TEMPLATE",
				Flags:  []cli.Flag{jsonFlag(), stateDirFlag()},
				Action: func(c *cli.Context) error { return diffTemplates(c, std) },
			},
			{
				Name: "verify", Usage: "check that a template's files have not changed", ArgsUsage: "TEMPLATE",
				Flags:  []cli.Flag{jsonFlag(), stateDirFlag()},
				Action: func(c *cli.Context) error { return verifyTemplate(c, std) },
			},
			{
				Name: "remove", Usage: "remove a version of a template that no Pi uses", ArgsUsage: "TEMPLATE@VERSION",
				Flags:  daemonFlags(),
				Action: func(c *cli.Context) error { return removeTemplate(c, std) },
			},
			{
				Name: "list", Usage: "list the templates",
				Flags:  templateFlags(),
				Action: func(c *cli.Context) error { return listTemplates(c, std) },
			},
		},
	}
}

func templateBuildCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "build", Usage: "build a template from Debian packages", ArgsUsage: "NAME",
		Description: "The name minimal builds the minimal template, which boots and transcodes. Any other NAME builds a full Debian.",
		Flags: templateFlags(
			&cli.StringFlag{Name: "name", Usage: "call the minimal template `NAME`", DefaultText: "minimal"},
			&cli.StringFlag{Name: "release", Usage: "use the Debian `RELEASE` bookworm or trixie", DefaultText: "bookworm"},
			&cli.StringFlag{Name: "arch", Usage: "build a full Debian for `ARCH`, arm64 or armhf", DefaultText: "arm64"},
			&cli.StringFlag{Name: "packages", Usage: "add the `PACKAGES` to a full Debian, separated by commas"},
			&cli.StringFlag{Name: "authorized-keys", Usage: "let the ssh public keys in `FILE` log in to a full Debian as root"},
			&cli.StringFlag{Name: "mirror", Usage: "download packages from the Debian mirror `URL`", DefaultText: "deb.debian.org"},
			configFlag(),
			&cli.StringFlag{Name: "cache", Usage: "keep downloaded packages in `DIR`", DefaultText: "cache in the state directory"},
		),
		Action: func(c *cli.Context) error { return buildTemplate(c, std) },
	}
}

func templateImportCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "import a disk image, a tar archive or a directory", ArgsUsage: "NAME SOURCE",
		Description: "With --server, SOURCE is a file of this machine, which is uploaded, or else a path in the media share there.",
		Flags: templateFlags(
			&cli.StringFlag{Name: "authorized-keys", Usage: "let the ssh public keys in `FILE` log in as the first user"},
			&cli.BoolFlag{Name: "keep-password", Usage: "keep the passwords of the source"},
			configFlag(),
			&cli.BoolFlag{Name: "allow-mismatch", Usage: "import even if kernel modules or firmware files are missing"},
		),
		Action: func(c *cli.Context) error { return importTemplate(c, std) },
	}
}

// templateMakeCommand is what the daemon runs for a template that the dashboard or the API orders.
func templateMakeCommand() *cli.Command {
	return &cli.Command{
		Name: "make", Usage: "for the daemon: make the template of an operation", ArgsUsage: "DIRECTORY", Hidden: true,
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIRECTORY")
			if err != nil {
				return err
			}
			return operation.Work(c.Context, args[0])
		},
	}
}

func templateFromPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "from-pi", Usage: "make a template of a Pi's root", ArgsUsage: "NAME PI", Description: describePi,
		Flags: daemonFlags(
			&cli.StringFlag{Name: "authorized-keys", Usage: "let the ssh public keys in `FILE` log in as the first user"},
			configFlag(),
			&cli.BoolFlag{Name: "lock-passwords", Usage: "lock the passwords, which all clones would share"},
			&cli.BoolFlag{Name: "allow-mismatch", Usage: "make the template even if kernel modules or firmware files are missing"},
			&cli.BoolFlag{Name: "force", Usage: "copy the root of a running Pi, although files that it writes meanwhile may be incomplete"},
		),
		Action: func(c *cli.Context) error { return templateFromPi(c, std) },
	}
}

// templateFlags returns more with the flags of the commands that work on the templates
// of this machine, without the daemon, or else on those of another one's daemon.
func templateFlags(more ...cli.Flag) []cli.Flag {
	return append(append(more, serverFlags()...), jsonFlag(), stateDirFlag())
}

// templates opens the state directory's templates. They are plain files, so these
// commands do not need the daemon.
func templates(c *cli.Context, std streams) *rootfs.Templates {
	return &rootfs.Templates{
		Dir: filepath.Join(c.String("state-dir"), "templates"),
		Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// newTemplates opens the templates to add one. It leaves as much space free as the
// daemon's configuration says.
func newTemplates(c *cli.Context, std streams) (*rootfs.Templates, error) {
	t := templates(c, std)
	file := c.String("config")
	if _, err := os.Stat(installedConfig); err == nil && file == "" {
		file = installedConfig
	}
	if file == "" {
		return t, nil
	}
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	t.MinFree = cfg.MinFreeBytes()
	return t, nil
}

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "read roots.min_free, the space to leave free, from the configuration `FILE`", DefaultText: installedConfig + ", if it exists"}
}

func roots(c *cli.Context, std streams) *rootfs.Roots {
	of := templates(c, std)
	return &rootfs.Roots{Dir: filepath.Join(c.String("state-dir"), "roots"), Templates: of, Log: of.Log}
}

func templateProgress(c *cli.Context, m *meter) rootfs.Progress {
	if c.Bool("json") {
		return nil
	}
	return m.report
}

func importTemplate(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME", "SOURCE")
	if err != nil {
		return err
	}
	if isRemote(c) {
		if err := notFor(c, "config"); err != nil {
			return err
		}
		t := web.NewTemplate{Name: args[0], Recipe: operation.Import, KeepPassword: c.Bool("keep-password"), AllowMismatch: c.Bool("allow-mismatch")}
		return importRemotely(c, std, t, args[1])
	}
	if err := needRoot("template import preserves owners and device nodes"); err != nil {
		return err
	}
	o := rootfs.ImportOptions{KeepPassword: c.Bool("keep-password"), AllowMismatch: c.Bool("allow-mismatch")}
	return importWith(c, std, args[0], args[1], o)
}

func importWith(c *cli.Context, std streams, name, source string, o rootfs.ImportOptions) error {
	var err error
	if o.AuthorizedKeys, err = authorizedKeys(c); err != nil {
		return err
	}
	m := newMeter(std)
	to, err := newTemplates(c, std)
	if err != nil {
		return err
	}
	imported, changes, err := to.Import(c.Context, name, source, o, templateProgress(c, m))
	m.clear()
	if err != nil {
		return err
	}
	return printTemplate(c, std, imported, changes)
}

// authorizedKeys reads the file of --authorized-keys; "" if the flag is not given.
func authorizedKeys(c *cli.Context) (string, error) {
	file := c.String("authorized-keys")
	if file == "" {
		return "", nil
	}
	keys, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("authorized keys: %w", err)
	}
	return string(keys), nil
}

// needRoot refuses at once what would fail half-way.
func needRoot(why string) error {
	if os.Geteuid() != 0 {
		return hintedError{fmt.Errorf("not root: %s", why), "run it with sudo"}
	}
	return nil
}

func printTemplate(c *cli.Context, std streams, t rootfs.Template, changes []filetree.Change) error {
	if c.Bool("json") {
		return printJSON(std.out, struct {
			rootfs.Template
			Changes []filetree.Change `json:"changes,omitempty"`
		}{t, changes})
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s@%d  %s, %s, kernel %s, %d files, %s\n", t.Name, t.Version, t.OS, t.Arch, kernels(t), t.Files, byteText(t.SizeBytes))
	for _, change := range changes {
		fmt.Fprintf(&out, "  %s: %s\n", change.File, change.What)
	}
	_, err := io.WriteString(std.out, out.String())
	return err
}

func kernels(t rootfs.Template) string {
	if len(t.Kernels) == 0 {
		return "none"
	}
	return strings.Join(t.Kernels, " ")
}

func listTemplates(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	all, err := allTemplates(c, std)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, all)
	}
	rows := [][]string{{"TEMPLATE", "SYSTEM", "ARCH", "KERNEL", "FILES", "SIZE", "MADE"}}
	for _, t := range all {
		rows = append(rows, []string{t.Name + "@" + strconv.Itoa(t.Version), shorten(t.OS, 30), string(t.Arch), shorten(kernels(t), 20), strconv.Itoa(t.Files), byteText(t.SizeBytes), since(t.Created)})
	}
	return printList(std.out, rows, "no templates; pibootd template build minimal builds one")
}

func allTemplates(c *cli.Context, std streams) (all []rootfs.Template, err error) {
	if !isRemote(c) {
		all, err = templates(c, std).List()
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return all, err
	}
	there, err := client(c).Templates(c.Context)
	for _, t := range there {
		all = append(all, t.Template)
	}
	return all, err
}
