package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/registry"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

func addWorkerCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "add-worker", Usage: "allow another machine, such as a PC, to transcode", ArgsUsage: "NAME",
		Flags: daemonFlags(
			&cli.StringSliceFlag{Name: "label", Usage: "give the worker the `LABEL`, by which transcode selects workers"},
			&cli.Float64Flag{Name: "weight", Usage: "transcode for `SHARE` of the time, 0.01 to 1, and rest between units", DefaultText: "1"},
		),
		Action: func(c *cli.Context) error { return addWorker(c, std) },
	}
}

func listWorkersCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "list-workers", Usage: "list the other machines", Flags: daemonFlags(),
		Action: func(c *cli.Context) error { return listWorkers(c, std) },
	}
}

func editWorkerCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "edit-worker", Usage: "change the labels or the weight of another machine", ArgsUsage: "NAME",
		Flags: daemonFlags(
			&cli.StringSliceFlag{Name: "label", Usage: "replace the worker's labels by the `LABEL`"},
			&cli.BoolFlag{Name: "no-labels", Usage: "remove all labels"},
			&cli.Float64Flag{Name: "weight", Usage: "transcode for `SHARE` of the time, 0.01 to 1, and rest between units"},
		),
		Action: func(c *cli.Context) error { return editWorker(c, std) },
	}
}

func removeWorkerCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "remove-worker", Usage: "remove another machine, which then gets no more work", ArgsUsage: "NAME",
		Flags:  daemonFlags(&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation"}),
		Action: func(c *cli.Context) error { return removeWorker(c, std) },
	}
}

func addWorker(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	added, err := client(c).AddMachine(c.Context, web.NewMachine{Name: args[0], Labels: c.StringSlice("label"), Weight: c.Float64("weight")})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, added)
	}
	return printAddedWorker(std.out, added)
}

func printAddedWorker(w io.Writer, added web.AddedMachine) error {
	_, err := fmt.Fprintf(w, `%[1]s added
  token    %[2]s
The token is not shown again. On that machine, install ffmpeg, save the token in a FILE of mode 0600, and run:
  curl -o pibootd-worker http://%[3]s%[4]samd64 && chmod +x pibootd-worker
  ./pibootd-worker --server %[3]s --name %[1]s --token-file FILE
`, added.Name, added.Token, added.Server, web.ProgramPath)
	return err
}

func listWorkers(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	machines, err := client(c).Machines(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, machines)
	}
	return printWorkers(std.out, machines)
}

// printWorkers shows machines in lines of at most 100 columns.
func printWorkers(w io.Writer, machines []web.Machine) error {
	rows := [][]string{{"NAME", "STATE", "MUXID", "ENCODERS", "DOES", "SEEN"}}
	for _, m := range machines {
		worker, muxID := queue.Worker{}, "-"
		if m.Worker != nil {
			worker = *m.Worker
		}
		if id := worker.Hello.MuxID; id != 0 {
			muxID = strconv.Itoa(id)
		}
		rows = append(rows, []string{
			cut(m.Name, 18), cut(printable(machineState(m)), 24), muxID,
			encodersText(worker.Hello.Encoders, 14), cut(doesText(worker), 20), since(m.LastSeen),
		})
	}
	return printList(w, rows, "no other machine is registered; see pibootd add-worker --help")
}

// machineState says in a few words whether a machine accepts work.
func machineState(m web.Machine) string {
	switch {
	case !m.Online && m.LastSeen.IsZero():
		return "never seen"
	case !m.Online:
		return "offline"
	case m.Worker.Hello.Locked != "":
		return "locked: " + m.Worker.Hello.Locked
	case m.Worker.Drained:
		return "online, drained"
	}
	return "online"
}

// encodersText names the first of a worker's encoders and counts the others.
func encodersText(encoders []string, width int) string {
	if len(encoders) == 0 {
		return "-"
	}
	more := ""
	if n := len(encoders) - 1; n > 0 {
		more = fmt.Sprintf(" +%d", n)
	}
	return cut(printable(encoders[0]), width-len(more)) + more
}

// doesText says what a worker is doing.
func doesText(w queue.Worker) string {
	if w.Job == 0 {
		return "-"
	}
	text := fmt.Sprintf("job %d %s", w.Job, w.Unit)
	if w.FPS > 0 {
		text += fmt.Sprintf(" %.0f fps", w.FPS)
	}
	return text
}

// cut keeps the beginning of a text that is too long for its column.
func cut(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}

func editWorker(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	var edit web.MachineEdit
	if labels := append([]string{}, c.StringSlice("label")...); c.IsSet("label") || c.Bool("no-labels") {
		edit.Labels = &labels
	}
	if weight := c.Float64("weight"); c.IsSet("weight") {
		edit.Weight = &weight
	}
	switch {
	case edit == web.MachineEdit{}:
		return usageError{hintedError{errors.New("no setting to change was given"), helpHint(c)}}
	case c.IsSet("label") && c.Bool("no-labels"):
		return usageError{errors.New("--label and --no-labels exclude each other")}
	}
	edited, err := client(c).EditMachine(c.Context, args[0], edit)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, edited)
	}
	_, err = fmt.Fprintf(std.out, "%s: weight %v, labels %s\n", edited.Name, edited.Settings().Share(), cmp.Or(strings.Join(edited.Labels, " "), "none"))
	return err
}

func removeWorker(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	machine, err := client(c).Machine(c.Context, args[0])
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		question := "remove " + machine.Name
		if machine.Online {
			question += ", whose worker is online"
		}
		if err := confirm(std, question+"?"); err != nil {
			return err
		}
	}
	removed, err := client(c).RemoveMachine(c.Context, machine.Name)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, removed)
	}
	_, err = fmt.Fprintf(std.out, "%s removed\n", removed.Name)
	return err
}

// everyone returns the boards, and the other machines in the same form.
func everyone(c *cli.Context) ([]web.Pi, error) {
	all, err := client(c).Pis(c.Context)
	if err != nil {
		return nil, err
	}
	machines, err := client(c).Machines(c.Context)
	for _, m := range machines {
		all = append(all, web.Pi{Pi: registry.Pi{Name: m.Name, Settings: m.Settings()}, Online: m.Online, Worker: m.Worker})
	}
	return all, err
}
