package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
	"pibootd/pkg/virtualpi"
	"pibootd/pkg/web"
)

func rehearseCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "rehearse",
		Usage:     "boot a virtual Pi with the requests of a real one",
		ArgsUsage: "[PI]", Description: describePi + " Give --mac and --serial for a Pi that is not registered. The virtual Pi sends the requests of a boot ROM and, with --qemu, then boots the kernel that it was served. This needs root and a daemon that serves on a bridge.",
		Flags: daemonFlags(
			&cli.BoolFlag{Name: "qemu", Usage: "boot the served files with qemu-system-aarch64, and keep it running"},
			&cli.BoolFlag{Name: "until-online", Usage: "with --qemu: switch the Pi off when its worker is online"},
			&cli.StringFlag{Name: "console", Usage: "with --qemu: write the serial console to `FILE`", DefaultText: "standard output"},
			&cli.StringFlag{Name: "model", Usage: "imitate the `MODEL` 2B, 3B, 3B+, 4B, 400, CM4 or 5", DefaultText: "3B for b8:27:eb addresses, else 4B"},
			&cli.StringFlag{Name: "mac", Usage: "the Ethernet `ADDRESS` of a Pi that is not registered"},
			&cli.StringFlag{Name: "serial", Usage: "the `SERIAL` number of a Pi that is not registered"},
			&cli.IntFlag{Name: "memory", Usage: "give the virtual Pi `MB` of memory", Value: 768},
			&cli.IntFlag{Name: "cpus", Usage: "give the virtual Pi this `NUMBER` of processors", Value: 2},
		),
		Action: func(c *cli.Context) error { return rehearse(c, std) },
	}
}

func rehearse(c *cli.Context, std streams) error {
	if err := needRoot("rehearse creates a network interface for the virtual Pi"); err != nil {
		return err
	}
	board, err := rehearsed(c)
	if err != nil {
		return err
	}
	info, err := client(c).Info(c.Context)
	if err != nil {
		return err
	}
	socket, err := plugIn(info)
	if err != nil {
		return err
	}
	defer socket.Namespace.Close()
	board.OnStep = func(s virtualpi.Step) {
		if c.Bool("json") {
			_ = printJSONLine(std.out, s)
			return
		}
		fmt.Fprintln(std.out, stepText(s))
	}
	served, err := board.PowerOn(c.Context, socket)
	if err != nil {
		return err
	}
	if !c.Bool("qemu") {
		return nil
	}
	return runMachine(c, std, board, served, socket)
}

// stepText returns a step as a line for people.
func stepText(s virtualpi.Step) string {
	line := fmt.Sprintf("%s  %-8s", s.At.Format("15:04:05.000"), s.Name)
	if s.File != "" {
		line += "  " + s.File
	}
	if s.Name == virtualpi.Fetched {
		line += fmt.Sprintf("  %s in %.2f s", byteText(s.Bytes), s.Took.Seconds())
	}
	if s.Detail != "" {
		line += "  " + s.Detail
	}
	return line
}

// rehearsed returns the board that the command line names.
func rehearsed(c *cli.Context) (*virtualpi.Board, error) {
	board := &virtualpi.Board{}
	var err error
	if c.String("mac") != "" || c.String("serial") != "" {
		if _, err := arguments(c); err != nil {
			return nil, err
		}
		if board.MAC, err = pi.ParseMAC(c.String("mac")); err != nil {
			return nil, usageError{fmt.Errorf("--mac: %w", err)}
		}
		if board.Serial, err = pi.ParseSerial(c.String("serial")); err != nil {
			return nil, usageError{fmt.Errorf("--serial: %w", err)}
		}
	} else {
		args, err := arguments(c, "PI")
		if err != nil {
			return nil, err
		}
		registered, err := client(c).Pi(c.Context, args[0])
		if err != nil {
			return nil, err
		}
		board.MAC, board.Serial = registered.MAC, registered.Serial
	}
	board.Model, err = model(c.String("model"), board.MAC)
	return board, err
}

// model returns the model called name; by default the Pi 3 or 4, depending on
// the address.
func model(name string, mac pi.MAC) (virtualpi.Model, error) {
	switch {
	case name == "3", name == "" && mac[0] == 0xb8:
		return virtualpi.Pi3B, nil
	case name == "4", name == "":
		return virtualpi.Pi4B, nil
	}
	for _, m := range virtualpi.Models() {
		if strings.EqualFold(name, string(m)) {
			return m, nil
		}
	}
	return "", usageError{fmt.Errorf("--model: got %q; want one of %q", name, virtualpi.Models())}
}

// plugIn finds the bridge that the daemon serves on: a virtual board needs a
// port in the same network, which a bridge can provide.
func plugIn(info web.Info) (virtualpi.Socket, error) {
	namespace, err := netlab.Current()
	if err != nil {
		return virtualpi.Socket{}, err
	}
	bridge, err := namespace.IsBridge(info.Interface)
	if err == nil && !bridge {
		err = hintedError{
			fmt.Errorf("%s is not a bridge, so no virtual Pi can be attached to it", info.Interface),
			"run pibootd serve on a bridge that has the network card as a port: ip link add br0 type bridge; ip link set " + info.Interface + " master br0; …",
		}
	}
	if err != nil {
		return virtualpi.Socket{}, errors.Join(err, namespace.Close())
	}
	return virtualpi.Socket{Namespace: namespace, Bridge: info.Interface}, nil
}

// runMachine boots the served kernel and waits until it ends, the user interrupts
// it or, with --until-online, the worker is online.
func runMachine(c *cli.Context, std streams, board *virtualpi.Board, served *virtualpi.Boot, socket virtualpi.Socket) error {
	console, closeConsole, err := openConsole(c, std)
	if err != nil {
		return err
	}
	defer closeConsole()
	started := time.Now()
	// Only Off ends it: the user's interrupt is no error.
	machine, err := board.Start(context.WithoutCancel(c.Context), served, socket, virtualpi.MachineOptions{Console: console, MemoryMB: c.Int("memory"), CPUs: c.Int("cpus")})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- machine.Wait() }()
	online := make(chan error, 1)
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	go func() { online <- waitOnline(ctx, client(c), board.Serial, started) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-c.Context.Done():
			return machine.Off()
		case err := <-online:
			if err != nil {
				return errors.Join(err, machine.Off())
			}
			fmt.Fprintf(std.err, "worker online after %s\n", time.Since(started).Round(100*time.Millisecond))
			if c.Bool("until-online") {
				return machine.Off()
			}
			online = nil
		}
	}
}

func openConsole(c *cli.Context, std streams) (io.Writer, func(), error) {
	name := c.String("console")
	if name == "" {
		return std.out, func() {}, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, nil, fmt.Errorf("console: %w", err)
	}
	return file, func() { _ = file.Close() }, nil // what QEMU wrote is in the file even if Close fails
}

// waitOnline returns when the board's worker has come online since began. It
// waits for a daemon that is restarted meanwhile.
func waitOnline(ctx context.Context, daemon *web.Client, serial pi.Serial, began time.Time) error {
	for ctx.Err() == nil {
		for event, err := range daemon.Follow(ctx, serial.String(), 0) {
			if err != nil && !isNotRunning(err) {
				return err
			}
			if err == nil && event.Kind == timeline.WorkerOnline && event.At.After(began) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(reconnectEvery):
		}
	}
	return ctx.Err()
}
