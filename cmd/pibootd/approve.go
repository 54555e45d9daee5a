package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

func approvePiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "approve-pi",
		Usage:       "register a Pi that has asked for an address",
		Description: "approve-pi works as add-pi does, with the addresses and serial numbers that pibootd list-pis --discovered lists.",
		ArgsUsage:   "SERIAL|ADDRESS",
		Flags: daemonFlags(slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "serial", Usage: "the `SERIAL` number of a board whose boot code does not send it"},
			&cli.StringFlag{Name: "template", Usage: "clone `TEMPLATE`, NAME or NAME@VERSION", DefaultText: "the only one"},
		}, cloneFlags("the fastest that the file system supports"), settingFlags())...),
		Action: func(c *cli.Context) error { return approvePi(c, std) },
	}
}

func approvePi(c *cli.Context, std streams) error {
	args, err := arguments(c, "SERIAL|ADDRESS")
	if err != nil {
		return err
	}
	found, err := client(c).Discovered(c.Context)
	if err != nil {
		return err
	}
	board, err := findDiscovered(found, args[0])
	if err != nil {
		return err
	}
	serial := c.String("serial")
	switch {
	case board.Serial == 0 && serial == "":
		return hintedError{
			fmt.Errorf("the boot code of %s does not send its serial number", board.MAC),
			fmt.Sprintf("give it: pibootd approve-pi %s --serial …, the last 8 hex digits of Serial in the board's /proc/cpuinfo%s", board.MAC, serialEnd(board.MAC)),
		}
	case serial == "":
		serial = board.Serial.String()
	}
	request, err := addRequest(c, board.MAC.String(), serial)
	if err != nil {
		return usageError{hintedError{err, helpHint(c)}}
	}
	if board.Serial != 0 && request.Serial != board.Serial {
		return usageError{fmt.Errorf("--serial %s: the board itself sends %s", request.Serial, board.Serial)}
	}
	return add(c, std, request)
}

// serialEnd returns a hint at the serial number: the Ethernet address of boards
// up to the 3B+ ends in its last six digits.
func serialEnd(mac pi.MAC) string {
	if text := mac.String(); strings.HasPrefix(text, "b8:27:eb:") {
		return "; they end in " + strings.ReplaceAll(strings.TrimPrefix(text, "b8:27:eb:"), ":", "")
	}
	return ""
}

// findDiscovered returns the board that was seen with this serial number or
// Ethernet address.
func findDiscovered(found []registry.Discovered, ref string) (registry.Discovered, error) {
	serial, serialErr := pi.ParseSerial(ref)
	mac, macErr := pi.ParseMAC(ref)
	for _, d := range found {
		if macErr == nil && d.MAC == mac || serialErr == nil && d.Serial == serial {
			return d, nil
		}
	}
	if serialErr != nil && macErr != nil {
		return registry.Discovered{}, usageError{fmt.Errorf("got %q; want a serial number, 8 hex digits, or an Ethernet address", ref)}
	}
	return registry.Discovered{}, hintedError{
		fmt.Errorf("no unregistered board %s has asked for an address, of %d that have", ref, len(found)),
		"pibootd list-pis --discovered shows them; power the board on, or register it unseen with pibootd add-pi",
	}
}
