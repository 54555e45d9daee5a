package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/fleet"
	"pibootd/pkg/howto"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
)

func importHowtoCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "import-howto", Usage: "take over boards from isc-dhcp-server, tftpd and nfs-kernel-server",
		Description: "import-howto says which boards these serve, and what it would do. With --apply it does it: each board's root is imported as a template, and the board is added with a clone of that. What the older servers have is only read.",
		Flags: daemonFlags(
			&cli.StringSliceFlag{Name: "dhcpd", Usage: "read the hosts in `FILE`; repeat it for files that are included", Value: cli.NewStringSlice("/etc/dhcp/dhcpd.conf")},
			&cli.StringFlag{Name: "exports", Usage: "read the exports in `FILE`", Value: "/etc/exports"},
			&cli.StringFlag{Name: "tftp", Usage: "read the boards' directories in `DIR`", Value: "/srv/tftp"},
			&cli.StringSliceFlag{Name: "pair", Usage: "the board with this serial number is that host block: `SERIAL=HOST`"},
			&cli.BoolFlag{Name: "apply", Usage: "import the boards; the daemon has to run"},
			configFlag(),
		),
		Action: func(c *cli.Context) error { return importHowto(c, std) },
	}
}

func importHowto(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	plan, err := planHowto(c)
	if err != nil {
		return err
	}
	if c.Bool("apply") {
		return applyHowto(c, std, plan)
	}
	if c.Bool("json") {
		return printJSON(std.out, plan)
	}
	return printPlan(std.out, plan)
}

// planHowto reads the files that the flags name.
func planHowto(c *cli.Context) (howto.Plan, error) {
	s := howto.Sources{Pairs: map[pi.Serial]string{}}
	for _, pair := range c.StringSlice("pair") {
		text, host, _ := strings.Cut(pair, "=")
		serial, err := pi.ParseSerial(text)
		if err != nil || host == "" {
			return howto.Plan{}, usageError{hintedError{fmt.Errorf("--pair %q; want SERIAL=HOST, e.g. 3333347a=hlspi", pair), helpHint(c)}}
		}
		s.Pairs[serial] = host
	}
	var problems []error
	for _, file := range c.StringSlice("dhcpd") {
		found, err := parseFile(file, howto.ParseDHCPD)
		problems = append(problems, err)
		s.DHCPD.Hosts = append(s.DHCPD.Hosts, found.Hosts...)
		s.DHCPD.Subnets = append(s.DHCPD.Subnets, found.Subnets...)
		s.DHCPD.Odd = append(s.DHCPD.Odd, found.Odd...)
		for _, included := range found.Includes {
			if !slices.Contains(c.StringSlice("dhcpd"), included) {
				s.DHCPD.Includes = append(s.DHCPD.Includes, included)
			}
		}
	}
	exports, err := parseFile(c.String("exports"), howto.ParseExports)
	s.Exports = exports
	top, err2 := os.OpenRoot(c.String("tftp"))
	if err := errors.Join(append(problems, err, err2)...); err != nil {
		return howto.Plan{}, hintedError{err, helpHint(c) + " says how to name other files"}
	}
	defer top.Close()
	s.TFTP = top
	return s.Plan()
}

// parseFile parses a file of at most what its parser reads.
func parseFile[T any](name string, parse func([]byte) (T, error)) (parsed T, err error) {
	file, err := os.Open(name)
	if err != nil {
		return parsed, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, howto.MaxFile+1))
	if err != nil {
		return parsed, err
	}
	if parsed, err = parse(text); err != nil {
		return parsed, fmt.Errorf("%s: %w", name, err)
	}
	return parsed, nil
}

// printPlan says what --apply would do.
func printPlan(w io.Writer, plan howto.Plan) error {
	var out strings.Builder
	ready := 0
	for _, b := range plan.Boards {
		fmt.Fprintf(&out, "%s  serial %s", b.Name, b.Serial)
		if b.MAC != (pi.MAC{}) {
			fmt.Fprintf(&out, ", address %s", b.MAC)
		}
		fmt.Fprintln(&out)
		if len(b.Problems) == 0 {
			ready++
			network := "a free address"
			if b.IP.IsValid() {
				network = b.IP.String()
			}
			fmt.Fprintf(&out, "  network   %s\n  root      %s, imported as the template %s\n", network, b.Root, b.Template)
			for _, setting := range b.Settings.Table() {
				if text := setting.Describe(); text != "" {
					fmt.Fprintf(&out, "  setting   %s\n", text)
				}
			}
		}
		printSentences(&out, "problem", b.Problems)
		printSentences(&out, "note", b.Notes)
	}
	printSentences(&out, "note", plan.Notes)
	if len(plan.Config) > 0 {
		fmt.Fprintf(&out, "\nIn place of its subnet, /etc/pibootd.toml would have:\n  %s\n", strings.Join(plan.Config, "\n  "))
	}
	fmt.Fprintf(&out, "\n%d of %d boards can be imported. Nothing was changed; --apply imports them.\n", ready, len(plan.Boards))
	_, err := io.WriteString(w, out.String())
	return err
}

func printSentences(w io.Writer, kind string, sentences []string) {
	for _, sentence := range sentences {
		fmt.Fprintf(w, "  %-8s  %s\n", kind, strings.Map(graphic, sentence))
	}
}

// applyHowto imports the boards that have no problem. A board that fails does not
// keep the others.
func applyHowto(c *cli.Context, std streams, plan howto.Plan) error {
	if err := needRoot("import-howto preserves owners and device nodes"); err != nil {
		return err
	}
	if _, err := client(c).Info(c.Context); err != nil { // before gigabytes are copied
		return err
	}
	var failed []error
	for _, b := range plan.Boards {
		if len(b.Problems) > 0 {
			failed = append(failed, fmt.Errorf("%s: %s", b.Serial, strings.Join(b.Problems, "; ")))
			continue
		}
		if err := importBoard(c, std, b); err != nil {
			if c.Context.Err() != nil {
				return err
			}
			failed = append(failed, fmt.Errorf("%s: %w", b.Name, err))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d boards were not imported: %w", len(failed), len(plan.Boards), errors.Join(failed...))
	}
	return nil
}

// importBoard imports a board's root, unless an earlier run has, and adds the board.
func importBoard(c *cli.Context, std streams, b howto.Board) error {
	to, err := newTemplates(c, std)
	if err != nil {
		return err
	}
	list, err := to.List()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !slices.ContainsFunc(list, func(t rootfs.Template) bool { return t.Name == b.Template }) {
		// Its passwords and its own ssh keys are the user's; the board gets an identity with its clone.
		o := rootfs.ImportOptions{KeepPassword: true, FromBoard: true}
		if err := importWith(c, std, b.Template, b.Root, o); err != nil {
			return err
		}
	}
	return add(c, std, fleet.Request{MAC: b.MAC, Serial: b.Serial, Name: b.Name, IP: b.IP, Template: b.Template, Settings: b.Settings})
}
