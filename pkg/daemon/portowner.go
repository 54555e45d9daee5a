package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A portOwner is the program that has a port of this machine.
type portOwner struct {
	name  string // e.g. "dnsmasq (process 812)"; "another program" if it cannot be found
	keeps bool   // it keeps the port while pibootd restarts
}

// ownerOf finds the program that has a TCP or UDP port.
func ownerOf(port int) portOwner {
	for _, inode := range socketInodes(port) {
		// /proc/PID/fd/N links to socket:[INODE] (proc(5)).
		links, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
		for _, link := range links {
			if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
				continue
			}
			process := filepath.Dir(filepath.Dir(link))
			if name, err := os.ReadFile(filepath.Join(process, "comm")); err == nil {
				name, pid := strings.TrimSpace(string(name)), filepath.Base(process)
				return portOwner{fmt.Sprintf("%s (process %s)", name, pid), name == "systemd" && pid == "1" || isKeeper(process)}
			}
		}
	}
	return portOwner{name: "another program"}
}

// isKeeper reports whether a process is `pibootd keep`.
func isKeeper(process string) bool {
	line, err := os.ReadFile(filepath.Join(process, "cmdline"))
	args := strings.Split(string(line), "\x00")
	return err == nil && len(args) > 1 && filepath.Base(args[0]) == "pibootd" && args[1] == "keep"
}

// socketInodes returns the inodes of the sockets that are bound to a port and
// not connected.
func socketInodes(port int) []string {
	var inodes []string
	for _, table := range []string{"udp", "udp6", "tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode
			fields := strings.Fields(line)
			if len(fields) < 10 || !strings.HasSuffix(fields[2], ":0000") {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if got, err := strconv.ParseUint(hex, 16, 16); err == nil && int(got) == port {
				inodes = append(inodes, fields[9])
			}
		}
	}
	return inodes
}
