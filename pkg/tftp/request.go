package tftp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRequest is the longest request that is read, RFC 2347's limit.
const maxRequest = 512

// A request is an RRQ or a WRQ as it came, copied from the packet.
type request struct {
	write   bool
	name    string
	mode    string
	options []option
	packet  []byte
}

// An option is one name and value of a request. The name is in lower case:
// RFC 2347 has names match in any case.
type option struct{ name, value string }

// parseRequest reads an RRQ or a WRQ. It judges the form only: what may be
// answered by an ERROR is left to refuse.
func parseRequest(p []byte) (request, error) {
	if len(p) > maxRequest {
		return request{}, fmt.Errorf("request is longer than %d bytes", maxRequest)
	}
	if len(p) < 2 {
		return request{}, fmt.Errorf("packet of %d bytes; want a request", len(p))
	}
	op := binary.BigEndian.Uint16(p)
	if op != opRead && op != opWrite {
		return request{}, fmt.Errorf("packet of type %d; want a request, %d or %d", op, opRead, opWrite)
	}
	name, rest, ok := cutNUL(p[2:])
	if !ok {
		return request{}, fmt.Errorf("file name %q is not ended by a zero byte", name)
	}
	mode, rest, ok := cutNUL(rest)
	if !ok {
		return request{}, fmt.Errorf("mode %q is not ended by a zero byte", mode)
	}
	return request{write: op == opWrite, name: name, mode: strings.ToLower(mode), options: parseOptions(rest)}, nil
}

// parseOptions reads the pairs behind the mode and ignores a broken tail, as
// servers that know no options ignore all of it.
func parseOptions(p []byte) []option {
	var options []option
	for {
		name, rest, _ := cutNUL(p)
		value, rest, ok := cutNUL(rest)
		if !ok {
			return options
		}
		options = append(options, option{name: strings.ToLower(name), value: value})
		p = rest
	}
}

// cutNUL returns what stands before the first zero byte and what stands behind
// it; without one, all of p and nothing.
func cutNUL(p []byte) (text string, rest []byte, ok bool) {
	before, after, ok := bytes.Cut(p, []byte{0})
	return string(before), after, ok
}

// same reports whether r and other ask for the same file in the same way.
func (r request) same(other request) bool {
	return r.write == other.write && r.name == other.name && r.mode == other.mode &&
		slices.Equal(r.options, other.options)
}

// A refusal is an ERROR that the server sends in place of a file.
type refusal struct {
	outcome Outcome
	code    uint16
	text    string
}

func (r *refusal) Error() string { return r.text }

// refuse returns why r gets no file whatever the Source holds, or nil.
func (r request) refuse() error {
	if r.write {
		return &refusal{Refused, codeAccess, "this server is read only"}
	}
	if r.mode != "octet" {
		return &refusal{Refused, codeIllegal, "only octet mode is served"}
	}
	if _, ok := cleanName(r.name); !ok {
		return &refusal{Refused, codeAccess, "bad file name"}
	}
	return nil
}

// cleanName returns name in the form that a Source is asked for. ok is false
// if there is none: boot code never sends "..", a backslash or a control
// character, and a Source should not have to think of them.
func cleanName(name string) (clean string, ok bool) {
	bad := func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }
	if strings.ContainsFunc(name, bad) || slices.Contains(strings.Split(name, "/"), "..") {
		return "", false
	}
	clean = path.Clean(strings.TrimLeft(name, "/"))
	return clean, clean != "." && fs.ValidPath(clean)
}

// Limits of the options. A windowsize above ours is answered with ours; a
// timeout may only be taken or left (RFC 2349), and a long one would have a
// dead client hold its transfer for minutes.
const (
	defaultBlock = 512
	minBlock     = 8
	maxBlock     = 65464
	maxWindow    = 64
	maxTimeout   = 15 * time.Second
)

// udpOverhead is what IPv4 and UDP put before a packet of ours.
const udpOverhead = 20 + 8

// Terms are what server and client agreed on for one transfer.
type terms struct {
	block   int           // bytes in every DATA packet but the last
	window  int           // DATA packets in flight
	timeout time.Duration // before a retransmission
	oack    []byte        // the packet that tells the client; nil if it sent no option that we know
}

// agree negotiates the options of a request for a file of size bytes. mtu is that
// of the path: boot code does not reassemble fragments. Unknown options and
// senseless values are left out of the OACK, which is how RFC 2347 declines.
func agree(options []option, size int64, mtu int, timeout time.Duration) terms {
	t := terms{block: defaultBlock, window: 1, timeout: timeout}
	seen := make(map[string]bool)
	for _, o := range options {
		if seen[o.name] {
			continue
		}
		seen[o.name] = true
		if value, ok := t.negotiate(o, size, mtu); ok {
			if t.oack == nil {
				t.oack = []byte{0, opOAck}
			}
			t.oack = appendOption(t.oack, o.name, strconv.FormatInt(value, 10))
		}
	}
	return t
}

// negotiate puts o into t and returns the value for the OACK.
func (t *terms) negotiate(o option, size int64, mtu int) (value int64, ok bool) {
	asked, err := strconv.ParseUint(o.value, 10, 63)
	if err != nil {
		return 0, false
	}
	switch o.name {
	case "blksize":
		if asked < minBlock {
			return 0, false
		}
		t.block = int(min(asked, maxBlock, uint64(max(minBlock, mtu-udpOverhead-headerLen))))
		return int64(t.block), true
	case "tsize":
		return size, true
	case "timeout":
		if asked < 1 || asked > uint64(maxTimeout/time.Second) {
			return 0, false
		}
		t.timeout = time.Duration(asked) * time.Second
		return int64(asked), true
	case "windowsize":
		if asked < 1 {
			return 0, false
		}
		t.window = int(min(asked, maxWindow))
		return int64(t.window), true
	}
	return 0, false
}
