package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/web"
)

func addPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "add-pi",
		Usage:       "register a Pi and clone a root for it",
		Description: "The root is cloned from a template and exported to this Pi only. pibootd then mounts the export from the Pi's address to prove that it works.",
		Flags:       daemonFlags(addFlags()...),
		Action:      func(c *cli.Context) error { return addPi(c, std) },
	}
}

// describePi says how a command line names a Pi.
const describePi = "PI is the name, the serial number or the Ethernet address of a registered Pi."

// addFlags are the identity and the settings of a new board.
func addFlags() []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "mac", Usage: "the board's Ethernet `ADDRESS`, e.g. b8:27:eb:33:34:7a"},
		&cli.StringFlag{Name: "serial", Usage: "the last 8 hex digits of the board's `SERIAL` number, e.g. 3333347a"},
		&cli.StringFlag{Name: "template", Usage: "clone `TEMPLATE`, NAME or NAME@VERSION", DefaultText: "the only one"},
	}, cloneFlags("the fastest that the file system supports"), settingFlags())
}

// settingFlags are the settings that edit-pi can change.
func settingFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "use the host name `NAME`", DefaultText: "pi-SERIAL"},
		&cli.StringFlag{Name: "ip", Usage: "give the board the IPv4 `ADDRESS`", DefaultText: "a free address"},
	}, flagsOf(new(registry.Settings).Table())...)
}

func addPi(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	request, err := addRequest(c, c.String("mac"), c.String("serial"))
	if err != nil {
		return usageError{hintedError{err, helpHint(c)}}
	}
	return add(c, std, request)
}

// add lets the daemon add a board and prints the result.
func add(c *cli.Context, std streams, request fleet.Request) error {
	m := newMeter(std)
	m.label = "adding the Pi"
	added, err := client(c).AddPi(c.Context, request, m.onTerminal(c))
	m.clear()
	if added.Pi.ID == 0 {
		return err
	}
	if c.Bool("json") {
		return errors.Join(printJSON(std.out, added), err)
	}
	return errors.Join(printAdded(std.out, added), err)
}

// onTerminal returns report for a command whose result says what was done. Without
// a terminal, on which a bar is erased at the end, it reports nothing.
func (m *meter) onTerminal(c *cli.Context) func(step string, done, total int64) {
	if !m.terminal || c.Bool("json") {
		return func(string, int64, int64) {}
	}
	return m.report
}

func addRequest(c *cli.Context, mac, serial string) (fleet.Request, error) {
	r := fleet.Request{
		Name:     c.String("name"),
		Template: c.String("template"),
	}
	readSettings(c, r.Settings.Table())
	var err error
	if r.Clone, err = cloneMethod(c); err != nil {
		return r, err
	}
	if r.MAC, err = pi.ParseMAC(mac); err != nil {
		return r, fmt.Errorf("--mac: %w", err)
	}
	if r.Serial, err = pi.ParseSerial(serial); err != nil {
		return r, fmt.Errorf("--serial: %w", err)
	}
	if c.IsSet("ip") {
		r.IP, err = parseIP(c)
	}
	return r, err
}

func parseIP(c *cli.Context) (netip.Addr, error) {
	ip, err := netip.ParseAddr(c.String("ip"))
	if err != nil || !ip.Is4() {
		return netip.Addr{}, fmt.Errorf("--ip: got %q; want an IPv4 address", c.String("ip"))
	}
	return ip, nil
}

func printAdded(w io.Writer, added fleet.Added) error {
	p := added.Pi
	var out strings.Builder
	if added.Existed {
		fmt.Fprintf(&out, "%s is already registered with these settings: nothing changed\n", p.Name)
	} else {
		fmt.Fprintf(&out, "%s added\n", p.Name)
	}
	fmt.Fprintf(&out, "  board    serial %s, address %s\n", p.Serial, p.MAC)
	fmt.Fprintf(&out, "  network  %s\n", p.IP)
	if added.Clone != "" {
		fmt.Fprintf(&out, "  root     %s@%d cloned by %s: %d files, %s\n", p.Template, p.Version, added.Clone, added.Files, byteText(added.Bytes))
	}
	proved := ""
	if len(added.Proof) > 0 {
		proved = ", proved by a mount"
	}
	fmt.Fprintf(&out, "  export   %s, to %s only%s\n", added.Export, p.IP, proved)
	for _, line := range added.Lacks {
		fmt.Fprintf(&out, "  warning  %s\n", strings.Map(graphic, line))
	}
	if !added.Existed {
		fmt.Fprintf(&out, "switch the Pi on and watch it boot: pibootd watch %s\n", p.Name)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func listPisCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "list-pis",
		Usage: "list the registered Pis",
		Flags: daemonFlags(&cli.BoolFlag{Name: "discovered", Usage: "list the Pis that asked for an address and are not registered"}),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			if c.Bool("discovered") {
				return listDiscovered(c, std)
			}
			return listPis(c, std)
		},
	}
}

func listPis(c *cli.Context, std streams) error {
	boards, err := client(c).Pis(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, boards)
	}
	rows := [][]string{{"NAME", "SERIAL", "ADDRESS", "IP", "TEMPLATE", "STATE"}}
	for _, b := range boards {
		rows = append(rows, []string{b.Name, b.Serial.String(), b.MAC.String(), b.IP.String(), fmt.Sprintf("%s@%d", b.Template, b.Version), state(b)})
	}
	if err := printList(std.out, rows, "no Pi is registered; see pibootd add-pi --help"); err != nil {
		return err
	}
	return printTroubles(std.out, boards)
}

// printTroubles prints a paragraph for each board that is not as it should be.
func printTroubles(w io.Writer, boards []web.Pi) error {
	var out strings.Builder
	for _, b := range boards {
		if inTrouble(b) {
			fmt.Fprintf(&out, "%s", diagnosisText(b.Diagnosis))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func inTrouble(b web.Pi) bool {
	switch b.Diagnosis.Code {
	case diagnosis.OK, diagnosis.OnItsWay, diagnosis.ShutDown, diagnosis.NeverSeen, "":
		return false
	}
	return true
}

// diagnosisText returns what is so, and what to do below it. Both can name files of a board.
func diagnosisText(d diagnosis.Diagnosis) string {
	text := d.Sentence + "\n"
	if d.Action != "" {
		text += "-> " + d.Action + "\n"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return graphic(r)
	}, text)
}

// state says in a few words what a board is doing.
func state(b web.Pi) string {
	switch {
	case b.Online && b.Worker != nil && b.Worker.Drained:
		return "worker online, drained"
	case b.Online && b.Worker != nil && b.Worker.Hello.Locked != "":
		return "worker online, refuses work"
	case b.Online && b.Diagnosis.State != diagnosis.Slow && b.Diagnosis.State != diagnosis.Stuck:
		return "worker online"
	case b.Diagnosis.Code == diagnosis.NeverSeen:
		return "never seen"
	case b.Diagnosis.State == diagnosis.Off:
		return "off, " + since(b.Diagnosis.Since)
	}
	return fmt.Sprintf("%s: %s, %s", b.Diagnosis.State, b.Diagnosis.Stage, since(b.Diagnosis.Since))
}

func listDiscovered(c *cli.Context, std streams) error {
	found, err := client(c).Discovered(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, found)
	}
	rows := [][]string{{"ADDRESS", "SERIAL", "MODEL", "FIRST SEEN", "LAST SEEN"}}
	for _, d := range found {
		serial, model := "unknown", string(d.Model)
		if d.Serial != 0 {
			serial = d.Serial.String()
		}
		if model == "" {
			model = "unknown"
		}
		rows = append(rows, []string{d.MAC.String(), serial, model, since(d.FirstSeen), since(d.LastSeen)})
	}
	return printList(std.out, rows, "no other board has asked for an address")
}

func showPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "show-pi",
		Usage:     "show a Pi's settings, state and boot files",
		ArgsUsage: "PI", Description: describePi,
		Flags: daemonFlags(&cli.BoolFlag{Name: "boot", Usage: "show only its boot files and its requests during the last boot"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "PI")
			if err != nil {
				return err
			}
			board, err := client(c).Pi(c.Context, args[0])
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, board)
			}
			if c.Bool("boot") {
				return showBoot(c.Context, client(c), std.out, board)
			}
			return printPi(std.out, board)
		},
	}
}

// clonedBy says by which method a root was cloned, if that is known.
func clonedBy(method string) string {
	if method == "" {
		return ""
	}
	return " by " + method
}

// relaxedText says what a board can lose.
const relaxedText = `            a power cut of the NAS can undo what the board has created, removed, renamed, linked
            or given another mode, owner or time in the last second, though programs were told
            that it is done; what they have synced of files' contents stays
`

func printPi(w io.Writer, b web.Pi) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", b.Name)
	fmt.Fprintf(&out, "  board     serial %s, address %s, %s\n", b.Serial, b.MAC, b.Arch)
	fmt.Fprintf(&out, "  network   %s\n", b.IP)
	fmt.Fprintf(&out, "  template  %s@%d%s, added %s\n", b.Template, b.Version, clonedBy(b.Clone), since(b.Added))
	for i, setting := range describeSettings(b.Settings) {
		fmt.Fprintf(&out, "  %-9s %s\n", []string{"settings", ""}[min(i, 1)], setting)
	}
	if b.Settings.Durable == registry.Relaxed {
		out.WriteString(relaxedText)
	}
	fmt.Fprintf(&out, "  state     %s\n", state(b))
	fmt.Fprintf(&out, "  diagnosis %s", strings.ReplaceAll(diagnosisText(b.Diagnosis), "\n->", "\n            ->"))
	out.WriteString(stagesText(b.Diagnosis.Stages))
	if b.Worker != nil {
		h := b.Worker.Hello
		fmt.Fprintf(&out, "  worker    %s, ffmpeg %s, %d CPUs, encoders %s\n", h.Version, h.FFmpeg, h.CPUs, strings.Join(h.Encoders, " "))
		if h.Locked != "" {
			fmt.Fprintf(&out, "            refuses work: %s\n", printable(h.Locked))
		}
	}
	for _, m := range b.Mismatches {
		fmt.Fprintf(&out, "  warning   %s\n", strings.Map(graphic, m.String()))
	}
	if b.Problem != "" {
		fmt.Fprintf(&out, "  problem   %s\n", strings.Map(graphic, b.Problem))
	}
	if b.Boot != nil {
		fmt.Fprintf(&out, "cmdline.txt\n%sconfig.txt\n%s", indent(b.Boot.CommandLine), indent(b.Boot.Config))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// stagesText returns a line for each stage of the last boot.
func stagesText(stages []diagnosis.Timed) string {
	var out strings.Builder
	for i, s := range stages {
		usually := ""
		if s.Median > 0 {
			usually = fmt.Sprintf(", usually %.1f s", s.Median)
		}
		fmt.Fprintf(&out, "  %-9s %-8s %.1f s%s\n", []string{"boot", ""}[min(i, 1)], s.Stage, s.Seconds, usually)
	}
	return out.String()
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}

func removePiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "remove-pi",
		Usage:     "remove a Pi and delete its root",
		ArgsUsage: "PI", Description: describePi,
		Flags: daemonFlags(
			&cli.BoolFlag{Name: "keep-root", Usage: "archive the root instead of deleting it; kept-roots lists it"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation"},
		),
		Action: func(c *cli.Context) error { return removePi(c, std) },
	}
}

func removePi(c *cli.Context, std streams) error {
	args, err := arguments(c, "PI")
	if err != nil {
		return err
	}
	board, err := client(c).Pi(c.Context, args[0])
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		if err := confirm(std, removeQuestion(board, c.Bool("keep-root"))); err != nil {
			return err
		}
	}
	removed, err := client(c).RemovePi(c.Context, board.Serial.String(), c.Bool("keep-root"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, removed)
	}
	if removed.Kept != "" {
		_, err = fmt.Fprintf(std.out, "%s removed; its root is archived in %s\n", board.Name, removed.Kept)
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s removed\n", board.Name)
	return err
}

func removeQuestion(board web.Pi, keepRoot bool) string {
	question := fmt.Sprintf("remove %s (serial %s)", board.Name, board.Serial)
	if !keepRoot {
		question += " and delete its root"
	}
	if board.Online {
		question += ", which it is running on"
	}
	return question + "?"
}

// confirm asks the user and returns an error unless the answer is yes.
func confirm(std streams, question string) error {
	fmt.Fprintf(std.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(std.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return hintedError{errors.New("not confirmed: nothing changed"), "answer y, or give --yes"}
}
