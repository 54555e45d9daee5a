// Package howto reads what the older pool was made of: the configuration of
// isc-dhcp-server, the exports of nfs-kernel-server, and a directory of tftpd with
// a directory for each board. It says which boards these describe. It changes
// nothing.
package howto

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// A Board is a board that was found.
type Board struct {
	Serial   pi.Serial         `json:"serial"`
	MAC      pi.MAC            `json:"mac,omitzero"`
	Name     string            `json:"name,omitempty"`
	IP       netip.Addr        `json:"ip,omitzero"`        // zero: any free one
	Root     string            `json:"root,omitempty"`     // the directory of its root
	Template string            `json:"template,omitempty"` // what that is imported as
	Settings registry.Settings `json:"settings"`
	Problems []string          `json:"problems,omitempty"` // why it cannot be imported: a sentence each
	Notes    []string          `json:"notes,omitempty"`    // what is left out or different: a sentence each
}

// A Plan is what an import would do.
type Plan struct {
	Boards []Board  `json:"boards"`
	Config []string `json:"config,omitempty"` // lines for pibootd.toml
	Notes  []string `json:"notes,omitempty"`
}

// Sources are what the older pool's parts have.
type Sources struct {
	DHCPD   DHCPD
	Exports []Export
	TFTP    *os.Root
	// Pairs names the host block of a board that cannot be found otherwise.
	Pairs map[pi.Serial]string
}

// Plan says which boards there are.
func (s Sources) Plan() (Plan, error) {
	dirs, err := ReadTFTP(s.TFTP)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Notes: s.DHCPD.Odd, Config: configOf(s.DHCPD.Subnets)}
	for _, file := range s.DHCPD.Includes {
		p.Notes = append(p.Notes, fmt.Sprintf("dhcpd.conf includes %.200q, which was not read; if it has hosts, name it with --dhcpd too", file))
	}
	if len(dirs) == 0 {
		p.Notes = append(p.Notes, "the TFTP directory has no directory that is called as a board's serial number, such as 3333347a")
	}
	used := map[string]bool{}
	for _, dir := range dirs {
		board, host := s.board(dir)
		used[host] = true
		p.Boards = append(p.Boards, board)
	}
	for _, host := range s.DHCPD.Hosts {
		if !used[host.Name] {
			p.Notes = append(p.Notes, fmt.Sprintf("host %s (%s) has no directory of boot files and is left out", host.Name, host.MAC))
		}
	}
	p.checkTwice()
	return p, nil
}

// board returns the board that a TFTP directory is of, and the name of its host
// block; "" if it has none.
func (s Sources) board(d Directory) (Board, string) {
	b := Board{Serial: d.Serial, Root: filepath.Clean(cmp.Or(d.NFSRoot, "/")), Notes: d.Odd}
	if d.NFSRoot == "" {
		b.Root = ""
		b.Problems = append(b.Problems, "its cmdline.txt names no root (nfsroot=)")
	}
	host, err := s.host(d)
	if err == nil {
		err = pi.CheckPair(host.MAC, d.Serial)
	}
	if err != nil {
		b.Problems = append(b.Problems, strings.TrimPrefix(err.Error(), "pi: "))
		host = Host{}
	}
	b.MAC, b.IP = host.MAC, host.IP
	b.Name = label(cmp.Or(host.HostName, host.Name, "pi-"+d.Serial.String()))
	b.Template = label(filepath.Base(b.Root))
	if b.Root != "" {
		s.lookAtRoot(&b, &d)
	}
	b.Settings = d.Settings
	return b, host.Name
}

// lookAtRoot checks a board's root, and compares its boot files with those that
// the board was served.
func (s Sources) lookAtRoot(b *Board, d *Directory) {
	if info, err := os.Stat(b.Root); err != nil || !info.IsDir() {
		b.Problems = append(b.Problems, fmt.Sprintf("its root %s is no directory of this machine", b.Root))
		return
	}
	if !slices.ContainsFunc(s.Exports, func(e Export) bool { return filepath.Clean(e.Path) == b.Root }) {
		b.Notes = append(b.Notes, fmt.Sprintf("its root %s is not in the exports", b.Root))
	}
	boot, err := openBoot(b.Root)
	if err != nil {
		b.Problems = append(b.Problems, fmt.Sprintf("its root has no boot directory: %v", err))
		return
	}
	defer boot.Close()
	d.without(boot)
	other, err := differences(s.TFTP, d.Serial.String(), boot)
	if err != nil {
		b.Notes = append(b.Notes, fmt.Sprintf("its boot files could not be compared: %v", err))
	}
	if len(other) > 0 {
		b.Notes = append(b.Notes, fmt.Sprintf("it was served %s, which %s has not or has otherwise; pibootd serves what is there", strings.Join(other, ", "), boot.Name()))
	}
}

// openBoot opens where a root has its boot partition.
func openBoot(root string) (*os.Root, error) {
	for _, dir := range []string{"boot/firmware", "boot"} {
		if _, err := os.Stat(filepath.Join(root, dir, "cmdline.txt")); err == nil {
			return os.OpenRoot(filepath.Join(root, dir))
		}
	}
	return os.OpenRoot(filepath.Join(root, "boot"))
}

// host returns the host block of a board: the one that --pair names; or the one
// whose address ends as the serial number does, as those of boards up to the Pi 3 do;
// or the one that is called as the root is.
func (s Sources) host(d Directory) (Host, error) {
	if name, ok := s.Pairs[d.Serial]; ok {
		return s.one(d, fmt.Sprintf("is called %s", name), func(h Host) bool { return h.Name == name })
	}
	if host, err := s.one(d, "has an address of it", func(h Host) bool {
		return strings.HasPrefix(h.MAC.String(), "b8:27:eb:") && pi.CheckPair(h.MAC, d.Serial) == nil
	}); !errors.Is(err, fs.ErrNotExist) {
		return host, err
	}
	root := filepath.Base(d.NFSRoot)
	return s.one(d, fmt.Sprintf("has an address of it, or is called %s, as its root is", root), func(h Host) bool {
		return d.NFSRoot != "" && (strings.EqualFold(h.HostName, root) || strings.EqualFold(h.Name, root))
	})
}

// one returns the only host that is wanted.
func (s Sources) one(d Directory, which string, wanted func(Host) bool) (Host, error) {
	var found []Host
	for _, host := range s.DHCPD.Hosts {
		if wanted(host) {
			found = append(found, host)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Host{}, notFound(fmt.Sprintf("no host block of dhcpd.conf %s; say which it is: --pair %s=HOST", which, d.Serial))
	}
	return Host{}, fmt.Errorf("%d host blocks of dhcpd.conf may be its, %s and %s among them; say which it is: --pair %s=HOST", len(found), found[0].Name, found[1].Name, d.Serial)
}

// notFound is an error that matches fs.ErrNotExist.
type notFound string

func (e notFound) Error() string        { return string(e) }
func (e notFound) Is(target error) bool { return target == fs.ErrNotExist }

// checkTwice notes what two boards have both.
func (p *Plan) checkTwice() {
	first := map[string]pi.Serial{}
	for i := range p.Boards {
		b := &p.Boards[i]
		for _, what := range []string{"name " + b.Name, "Ethernet address " + b.MAC.String()} {
			if other, ok := first[what]; ok && b.MAC != (pi.MAC{}) {
				b.Problems = append(b.Problems, fmt.Sprintf("its %s is that of %s, too", what, other))
			}
			first[what] = b.Serial
		}
		roots := slices.IndexFunc(p.Boards[:i], func(o Board) bool { return o.Template == b.Template })
		switch {
		case roots < 0 || b.Root == "":
		case p.Boards[roots].Root == b.Root:
			b.Notes = append(b.Notes, fmt.Sprintf("its root is that of %s, too: each gets its own copy", p.Boards[roots].Serial))
		default:
			b.Template = label(b.Template + "-" + b.Serial.String())
		}
	}
}

// configOf returns what pibootd.toml says in place of the subnets.
func configOf(subnets []Subnet) []string {
	i := slices.IndexFunc(subnets, func(s Subnet) bool { return s.First.IsValid() && s.Last.IsValid() })
	if i < 0 {
		return nil
	}
	s := subnets[i]
	lines := []string{"[dhcp]", `mode = "pool"`, fmt.Sprintf(`pool = "%s-%s"`, s.First, s.Last)}
	if s.Router.IsValid() {
		lines = append(lines, fmt.Sprintf(`router = "%s"`, s.Router))
	}
	if len(s.DNS) > 0 {
		var quoted []string
		for _, server := range s.DNS {
			quoted = append(quoted, fmt.Sprintf("%q", server))
		}
		lines = append(lines, "dns = ["+strings.Join(quoted, ", ")+"]")
	}
	if s.Domain != "" {
		lines = append(lines, fmt.Sprintf("domain = %q", s.Domain))
	}
	return lines
}

// label turns a name into one that a host and a template can have.
func label(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	name = strings.Trim(name[:min(len(name), pi.MaxLabel)], "-")
	return cmp.Or(name, "pi")
}
