package howto

import (
	"fmt"
	"net/netip"
	"strings"

	"pibootd/pkg/pi"
)

// A Host is a host block of dhcpd.conf(5).
type Host struct {
	Name     string // of the block
	HostName string // option host-name; "": none
	MAC      pi.MAC
	IP       netip.Addr // fixed-address; zero: none
}

// A Subnet is a subnet block of dhcpd.conf(5).
type Subnet struct {
	Prefix      netip.Prefix
	First, Last netip.Addr // of its first range; zero: none
	Router      netip.Addr // zero: none
	DNS         []netip.Addr
	Domain      string
}

// A DHCPD is what of a dhcpd.conf matters here.
type DHCPD struct {
	Hosts    []Host
	Subnets  []Subnet
	Includes []string // files that it includes, which were not read
	Odd      []string // a sentence for each host block that is no board's
}

const maxDepth = 32 // of blocks within blocks

// ParseDHCPD reads the configuration of isc-dhcp-server. Statements that are
// none of its business are skipped, whatever they are.
func ParseDHCPD(text []byte) (DHCPD, error) {
	if len(text) > MaxFile {
		return DHCPD{}, fmt.Errorf("howto: dhcpd.conf is too long; want at most %d bytes", MaxFile)
	}
	p := dhcpdParser{tokens: tokenizer{text: string(text), line: 1}}
	for {
		closed, err := p.statement(nil, 0)
		if err != nil {
			return DHCPD{}, fmt.Errorf("howto: dhcpd.conf, line %d: %w", p.tokens.line, err)
		}
		if closed {
			return p.found, nil
		}
	}
}

type dhcpdParser struct {
	tokens tokenizer
	found  DHCPD
}

// A block is what statements stand in, if that is of interest.
type block struct {
	host   *Host
	hasMAC bool
	subnet *Subnet
}

// statement reads one statement, with the block that it opens. It reports whether
// the enclosing block, or the text, has ended instead.
func (p *dhcpdParser) statement(in *block, depth int) (ended bool, err error) {
	if depth > maxDepth {
		return false, fmt.Errorf("more than %d blocks within each other", maxDepth)
	}
	var words []string
	for {
		token, ok, err := p.tokens.next()
		switch {
		case err != nil:
			return false, err
		case !ok && (depth > 0 || len(words) > 0):
			return false, fmt.Errorf("the file ends in the middle of a statement or block")
		case !ok:
			return true, nil
		case token == "}" && (depth == 0 || len(words) > 0):
			return false, fmt.Errorf("unexpected }")
		case token == "}":
			return true, nil
		case token == ";":
			p.simple(in, words)
			return false, nil
		case token == "{":
			return false, p.block(words, depth)
		}
		words = append(words, token)
	}
}

// block reads what is between braces. words stand before them.
func (p *dhcpdParser) block(words []string, depth int) error {
	in := &block{}
	switch {
	case len(words) == 2 && words[0] == "host":
		in.host = &Host{Name: unquote(words[1])}
	case len(words) == 4 && words[0] == "subnet":
		in.subnet = newSubnet(words[1], words[3])
	}
	for {
		ended, err := p.statement(in, depth+1)
		if err != nil {
			return err
		}
		if ended {
			return p.add(in)
		}
	}
}

func newSubnet(network, mask string) *Subnet {
	addr, err := netip.ParseAddr(network)
	bits, err2 := netip.ParseAddr(mask)
	if err != nil || err2 != nil || !addr.Is4() || !bits.Is4() {
		return nil
	}
	ones := 0
	for _, octet := range bits.As4() {
		for ; octet&0x80 != 0; octet <<= 1 {
			ones++
		}
	}
	return &Subnet{Prefix: netip.PrefixFrom(addr, ones)}
}

// add keeps a block that has ended.
func (p *dhcpdParser) add(in *block) error {
	if len(p.found.Hosts) == maxEntries || len(p.found.Subnets) == maxEntries || len(p.found.Odd) == maxEntries {
		return fmt.Errorf("more than %d hosts or subnets", maxEntries)
	}
	switch {
	case in.subnet != nil:
		p.found.Subnets = append(p.found.Subnets, *in.subnet)
	case in.host != nil && in.hasMAC:
		p.found.Hosts = append(p.found.Hosts, *in.host)
	case in.host != nil:
		p.found.Odd = append(p.found.Odd, fmt.Sprintf("host %s has no Ethernet address of a board", in.host.Name))
	}
	return nil
}

// simple takes a statement that ends with a semicolon.
func (p *dhcpdParser) simple(in *block, words []string) {
	switch {
	case len(words) == 2 && words[0] == "include" && len(p.found.Includes) < maxEntries:
		p.found.Includes = append(p.found.Includes, unquote(words[1]))
	case in == nil || len(words) < 2:
	case in.host != nil:
		in.setHost(words)
	case in.subnet != nil:
		in.subnet.set(words)
	}
}

func (b *block) setHost(words []string) {
	switch {
	case words[0] == "hardware" && len(words) == 3 && words[1] == "ethernet":
		mac, err := pi.ParseMAC(words[2])
		b.host.MAC, b.hasMAC = mac, err == nil
	case words[0] == "fixed-address":
		b.host.IP, _ = netip.ParseAddr(words[1]) // a name is looked up by dhcpd alone
	case words[0] == "option" && words[1] == "host-name" && len(words) == 3:
		b.host.HostName = unquote(words[2])
	}
}

func (s *Subnet) set(words []string) {
	values := words[1:]
	switch {
	case words[0] == "range" && !s.First.IsValid():
		if values[0] == "dynamic-bootp" {
			values = values[1:]
		}
		if len(values) > 0 {
			s.First, _ = netip.ParseAddr(values[0])
			s.Last, _ = netip.ParseAddr(values[len(values)-1])
		}
	case words[0] == "option" && len(words) > 2:
		s.setOption(words[1], words[2:])
	}
}

func (s *Subnet) setOption(name string, values []string) {
	switch name {
	case "routers":
		s.Router, _ = netip.ParseAddr(values[0])
	case "domain-name":
		s.Domain = unquote(values[0])
	case "domain-name-servers":
		for _, value := range values {
			if addr, err := netip.ParseAddr(value); err == nil {
				s.DNS = append(s.DNS, addr)
			}
		}
	}
}

func unquote(word string) string { return strings.Trim(word, `"`) }

// A tokenizer splits a dhcpd.conf into words, strings with their quotes, and
// the signs { } ;. Commas separate words like blanks.
type tokenizer struct {
	text string
	line int
}

// next returns the next token; ok is false at the end.
func (t *tokenizer) next() (token string, ok bool, err error) {
	t.skip()
	if t.text == "" {
		return "", false, nil
	}
	switch t.text[0] {
	case '{', '}', ';':
		return t.take(1), true, nil
	case '"':
		end := strings.IndexAny(t.text[1:], "\"\n")
		if end < 0 || t.text[1+end] == '\n' {
			return "", false, fmt.Errorf("a string has no closing quote")
		}
		return t.take(end + 2), true, nil
	}
	end := strings.IndexAny(t.text, " \t\r\n,{};\"#")
	if end < 0 {
		end = len(t.text)
	}
	return t.take(end), true, nil
}

// skip leaves out white space, commas and comments.
func (t *tokenizer) skip() {
	for t.text != "" {
		switch t.text[0] {
		case '\n':
			t.line++
			t.text = t.text[1:]
		case ' ', '\t', '\r', ',':
			t.text = t.text[1:]
		case '#':
			end := strings.IndexByte(t.text, '\n')
			if end < 0 {
				end = len(t.text)
			}
			t.text = t.text[end:]
		default:
			return
		}
	}
}

func (t *tokenizer) take(n int) string {
	token := t.text[:n]
	t.text = t.text[n:]
	return token
}
