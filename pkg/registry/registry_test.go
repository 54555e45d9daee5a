package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

func TestAddIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	s := openStore(t, file)
	r := open(t, s)
	want := board(1)
	want.Settings = Settings{MuxID: 3, HWDecode: true, GPUMem: 128, Weight: 0.5, Args: []string{"quiet", "isolcpus=1,2"}}
	added := add(t, r, want, "secret")
	if added.ID == 0 || added.Added.IsZero() {
		t.Errorf("Add = %+v; want an ID and a time", added)
	}
	want.ID, want.Added = added.ID, added.Added
	if !reflect.DeepEqual(added, want) {
		t.Errorf("Add = %+v; want %+v", added, want)
	}
	// A second connection sees what a killed daemon leaves behind.
	again := open(t, openStore(t, file))
	if got, ok := again.BySerial(want.Serial); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("after reopening: %+v, %v; want %+v", got, ok, want)
	}
	if !again.CheckToken(want.Serial, "secret") {
		t.Error("after reopening: the token is refused")
	}
}

func TestTokenIsNotStored(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	p := add(t, r, board(1), "secret")
	for token, want := range map[string]bool{"secret": true, "Secret": false, "": false, "secret ": false} {
		if got := r.CheckToken(p.Serial, token); got != want {
			t.Errorf("CheckToken(%q) = %v; want %v", token, got, want)
		}
	}
	if r.CheckToken(p.Serial+1, "secret") {
		t.Error("CheckToken of an unknown board = true; want false")
	}
	var stored string
	if err := s.QueryRow(t.Context(), "SELECT token FROM pis").Scan(&stored); err != nil || strings.Contains(stored, "secret") {
		t.Errorf("stored token = %q, %v; want a hash", stored, err)
	}
	if _, err := r.Add(t.Context(), board(2), ""); err == nil {
		t.Error("Add without a token = nil; want an error")
	}
}

func TestAddRefuses(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	add(t, r, board(1), "secret")
	for name, c := range map[string]struct {
		change func(*Pi)
		want   string
	}{
		"serial taken":        {func(p *Pi) { p.Serial = board(1).Serial }, "registered already, as pi1; remove that one first"},
		"MAC taken":           {func(p *Pi) { p.MAC = board(1).MAC }, "address dc:a6:32:00:00:01 belongs to pi1 (serial 10000001)"},
		"name taken":          {func(p *Pi) { p.Name = "pi1" }, "name pi1 belongs to the board with serial 10000001"},
		"ip taken":            {func(p *Pi) { p.IP = board(1).IP }, "ip 10.0.0.1 belongs to pi1"},
		"no serial":           {func(p *Pi) { p.Serial = 0 }, "serial number is missing"},
		"no MAC":              {func(p *Pi) { p.MAC = pi.MAC{} }, "not the address of one board"},
		"group MAC":           {func(p *Pi) { p.MAC = pi.MAC{1, 0, 0x5e} }, "not the address of one board"},
		"another board's MAC": {func(p *Pi) { p.MAC = pi.MAC{0xb8, 0x27, 0xeb, 9, 9, 9} }, "not of one board"},
		"no name":             {func(p *Pi) { p.Name = "" }, `name "" is not a host name`},
		"upper case":          {func(p *Pi) { p.Name = "Pi2" }, `name "Pi2" is not a host name`},
		"dotted name":         {func(p *Pi) { p.Name = "pi2.lan" }, "is not a host name"},
		"dash first":          {func(p *Pi) { p.Name = "-pi2" }, "is not a host name"},
		"dash last":           {func(p *Pi) { p.Name = "pi2-" }, "is not a host name"},
		"long name":           {func(p *Pi) { p.Name = strings.Repeat("a", 64) }, "1 to 63 of a-z"},
		"path as name":        {func(p *Pi) { p.Name = "../etc" }, "is not a host name"},
		"another's serial":    {func(p *Pi) { p.Name = "10000001" }, "reads as another board's serial number"},
		"another's MAC":       {func(p *Pi) { p.Name = "dc-a6-32-00-00-01" }, "reads as another board's Ethernet address"},
		"no ip":               {func(p *Pi) { p.IP = netip.Addr{} }, "ip invalid IP is not an address for a board"},
		"IPv6":                {func(p *Pi) { p.IP = netip.MustParseAddr("fd00::1") }, "want a unicast IPv4 address"},
		"multicast ip":        {func(p *Pi) { p.IP = netip.MustParseAddr("224.0.0.1") }, "want a unicast IPv4 address"},
		"broadcast ip":        {func(p *Pi) { p.IP = netip.MustParseAddr("255.255.255.255") }, "want a unicast IPv4 address"},
		"no template":         {func(p *Pi) { p.Template = "" }, `template "" version 1 does not exist`},
		"no version":          {func(p *Pi) { p.Version = 0 }, "version 0 does not exist"},
		"odd architecture":    {func(p *Pi) { p.Arch = "riscv64" }, `architecture "riscv64" has no worker`},
		"negative muxer":      {func(p *Pi) { p.Settings.MuxID = -1 }, "muxer id -1"},
		"unknown boot menu":   {func(p *Pi) { p.Settings.BootMenu = "isc" }, `boot menu "isc"; want one of ["" "dnsmasq" "raw"]`},
		"no weight":           {func(p *Pi) { p.Settings.Weight = 0.001 }, "weight 0.001; want 0.01 to 1, the share of its time that it transcodes in"},
		"great weight":        {func(p *Pi) { p.Settings.Weight = 100 }, "weight 100; want 0.01 to 1"},
		"small gpu_mem":       {func(p *Pi) { p.Settings.GPUMem = 8 }, "gpu_mem 8 MB; want 16 to 512"},
		"empty argument":      {func(p *Pi) { p.Settings.Args = []string{""} }, `kernel argument ""`},
		"two in one":          {func(p *Pi) { p.Settings.Args = []string{"a b"} }, `kernel argument "a b"`},
		"newline":             {func(p *Pi) { p.Settings.Args = []string{"a\nroot=/dev/sda"} }, "without white space"},
		"quote":               {func(p *Pi) { p.Settings.Args = []string{`a="b`} }, "without white space and quotes"},
		"no key":              {func(p *Pi) { p.Settings.Args = []string{"=x"} }, "want key or key=value"},
		"own argument":        {func(p *Pi) { p.Settings.Args = []string{"init=/bin/sh"} }, "is pibootd's own"},
		"own flag":            {func(p *Pi) { p.Settings.Args = []string{"muxhwdec"} }, "is pibootd's own"},
		"end of arguments":    {func(p *Pi) { p.Settings.Args = []string{"--"} }, "ends the kernel's arguments"},
		"muxid as argument":   {func(p *Pi) { p.Settings.Args = []string{"muxid=2"} }, "use --muxid of add-pi or edit-pi"},
		"read-only root":      {func(p *Pi) { p.Settings.Args = []string{"ro"} }, "is pibootd's own"},
		"two config lines":    {func(p *Pi) { p.Settings.Config = []string{"a=1\nb=2"} }, `config.txt line "a=1\nb=2"; want key=value`},
		"config newline":      {func(p *Pi) { p.Settings.Config = []string{"a=1\n"} }, "want key=value"},
		"config section":      {func(p *Pi) { p.Settings.Config = []string{"[pi4]"} }, "want key=value"},
		"config include":      {func(p *Pi) { p.Settings.Config = []string{"include x"} }, "want key=value"},
		"config comment":      {func(p *Pi) { p.Settings.Config = []string{"#a=1"} }, "want key=value"},
		"config no value":     {func(p *Pi) { p.Settings.Config = []string{"a="} }, "want key=value"},
		"config no ASCII":     {func(p *Pi) { p.Settings.Config = []string{"a=\u00fc"} }, "want key=value"},
		"config long line":    {func(p *Pi) { p.Settings.Config = []string{"a=" + strings.Repeat("x", 97)} }, "has 99 bytes; want at most 98"},
		"config gpu_mem":      {func(p *Pi) { p.Settings.Config = []string{"gpu_mem=64"} }, "gpu_mem is pibootd's own: use --gpu-mem"},
		"config gpu_mem size": {func(p *Pi) { p.Settings.Config = []string{"GPU_mem_1024=64"} }, "use --gpu-mem"},
		"config cmdline":      {func(p *Pi) { p.Settings.Config = []string{"cmdline=my.txt"} }, "use --arg"},
		"config os_prefix":    {func(p *Pi) { p.Settings.Config = []string{"os_prefix=a/"} }, "config.txt of the board's root"},
		"many config lines":   {func(p *Pi) { p.Settings.Config = slices.Repeat([]string{"dtparam=x"}, 65) }, "65 lines for config.txt; want at most 64"},
		"many arguments":      {func(p *Pi) { p.Settings.Args = []string{strings.Repeat("a", 513)} }, "want at most 512"},
	} {
		t.Run(name, func(t *testing.T) {
			p := board(2)
			c.change(&p)
			_, err := r.Add(t.Context(), p, "secret")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Add = %v; want %q", err, c.want)
			}
			if err := r.Check(p); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check = %v; want %q", err, c.want)
			}
		})
	}
	if n := len(open(t, s).All()); n != 1 {
		t.Errorf("%d boards stored; want only the first", n)
	}
}

func TestCheckReportsEverything(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	err := r.Check(Pi{})
	for _, want := range []string{"serial number is", "address of one board", "ip invalid", "name \"\"", "template \"\"", "architecture \"\""} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check of nothing = %v; want %q in it", err, want)
		}
	}
}

func TestFailedWriteChangesNothing(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	kept := add(t, r, board(1), "secret")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Add(ended, board(2), "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("Add = %v; want %v", err, context.Canceled)
	}
	if err := r.Remove(ended, kept.Serial); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove = %v; want %v", err, context.Canceled)
	}
	if _, err := r.Update(ended, kept.Serial, func(p *Pi) { p.Name = "other" }); !errors.Is(err, context.Canceled) {
		t.Errorf("Update = %v; want %v", err, context.Canceled)
	}
	for _, r := range []*Registry{r, open(t, s)} {
		if got := r.All(); !reflect.DeepEqual(got, []Pi{kept}) {
			t.Errorf("All = %+v; want %+v alone", got, kept)
		}
	}
}

func TestUpdate(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	before, other := add(t, r, board(1), "secret"), add(t, r, board(2), "secret")
	after, err := r.Update(t.Context(), before.Serial, func(p *Pi) {
		p.Name, p.Settings.Args, p.Settings.Labels = "renamed", []string{"quiet"}, []string{"row1"}
		p.ID, p.Serial, p.Version = 99, 99, 2 // these stay
	})
	if err != nil {
		t.Fatal(err)
	}
	want := before
	want.Name, want.Settings.Args, want.Settings.Labels = "renamed", []string{"quiet"}, []string{"row1"}
	for _, r := range []*Registry{r, open(t, s)} {
		got, _ := r.BySerial(before.Serial)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(after, want) {
			t.Errorf("after Update: %+v; want %+v", got, want)
		}
		if !r.CheckToken(before.Serial, "secret") {
			t.Error("after Update: the token is refused")
		}
	}
	_, err = r.Update(t.Context(), before.Serial, func(p *Pi) { p.IP, p.MAC = other.IP, other.MAC })
	if err == nil || !strings.Contains(err.Error(), "ip 10.0.0.2 belongs to pi2") || !strings.Contains(err.Error(), "address dc:a6:32:00:00:02 belongs to pi2") {
		t.Errorf("Update to another's address = %v; want both refused", err)
	}
	if _, err := r.Update(t.Context(), 77, func(*Pi) {}); !errors.Is(err, ErrUnknown) {
		t.Errorf("Update of an unknown board = %v; want %v", err, ErrUnknown)
	}
}

// Another root is another export, and its worker has another token.
func TestSetRoot(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	before, other := add(t, r, board(1), "secret"), add(t, r, board(2), "secret")
	after, err := r.SetRoot(t.Context(), before.Serial, Root{"muxer", 4, pi.ARMv7, "copy"}, "new secret")
	if err != nil || after.ID == before.ID || after.ID == other.ID {
		t.Fatalf("SetRoot = %+v, %v; want an id of its own", after, err)
	}
	want := before
	want.ID, want.Root = after.ID, Root{"muxer", 4, pi.ARMv7, "copy"}
	for _, r := range []*Registry{r, open(t, s)} {
		got, _ := r.BySerial(before.Serial)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(after, want) {
			t.Errorf("after SetRoot: %+v; want %+v", got, want)
		}
		if r.CheckToken(before.Serial, "secret") || !r.CheckToken(before.Serial, "new secret") {
			t.Error("after SetRoot: want the new token taken, and the old one refused")
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, cancelled := r.SetRoot(ended, before.Serial, Root{"muxer", 5, pi.ARMv7, ""}, "third secret")
	_, wrong := r.SetRoot(t.Context(), before.Serial, Root{"", 0, pi.ARMv7, ""}, "third secret")
	_, unknown := r.SetRoot(t.Context(), 77, Root{"muxer", 5, pi.ARMv7, ""}, "third secret")
	if got, _ := r.BySerial(before.Serial); cancelled == nil || wrong == nil || !errors.Is(unknown, ErrUnknown) || !reflect.DeepEqual(got, want) {
		t.Errorf("SetRoot = %v, %v, %v and left %+v; want errors and no change", cancelled, wrong, unknown, got)
	}
}

func TestRemove(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	first := add(t, r, board(1), "secret")
	if err := r.Remove(t.Context(), first.Serial); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), first.Serial); !errors.Is(err, ErrUnknown) {
		t.Errorf("second Remove = %v; want %v", err, ErrUnknown)
	}
	if got := open(t, s).All(); len(got) != 0 {
		t.Errorf("after Remove: %+v; want none", got)
	}
	if r.CheckToken(first.Serial, "secret") {
		t.Error("the token of a removed board is accepted")
	}
	if again := add(t, open(t, s), board(1), "secret"); again.ID <= first.ID {
		t.Errorf("ID of the board added again = %d; want one above %d", again.ID, first.ID)
	}
}

func TestFind(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	if _, err := r.Find("pi1"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("Find without boards = %v; want %v", err, ErrUnknown)
	}
	for i := range 11 {
		add(t, r, board(i+1), "secret")
	}
	for _, ref := range []string{"pi2", "PI2", " pi2 ", "10000002", "0x10000002", "0000000010000002", "dc:a6:32:00:00:02", "DC-A6-32-00-00-02"} {
		if p, err := r.Find(ref); err != nil || p.Serial != board(2).Serial {
			t.Errorf("Find(%q) = %v, %v; want pi2", ref, p.Name, err)
		}
	}
	for _, ref := range []string{"", "pi22", "10000099", "dc:a6:32:00:00:99", "../pi2"} {
		_, err := r.Find(ref)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "pi2 (10000002, dc:a6:32:00:00:02)") || !strings.Contains(err.Error(), "3 more") {
			t.Errorf("Find(%q) = %v; want %v and the boards there are", ref, err, ErrUnknown)
		}
	}
}

func TestLookups(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	want := add(t, r, board(2), "secret")
	add(t, r, board(1), "secret")
	if got, ok := r.ByMAC(want.MAC); !ok || got.Serial != want.Serial {
		t.Errorf("ByMAC = %v, %v", got, ok)
	}
	for _, ip := range []string{"10.0.0.2", "::ffff:10.0.0.2"} {
		if got, ok := r.ByIP(netip.MustParseAddr(ip)); !ok || got.Serial != want.Serial {
			t.Errorf("ByIP(%s) = %v, %v", ip, got, ok)
		}
	}
	if got, ok := r.ByIP(netip.MustParseAddr("10.0.0.3")); ok {
		t.Errorf("ByIP of no board = %v", got)
	}
	if all := r.All(); len(all) != 2 || all[0].Name != "pi1" {
		t.Errorf("All = %v; want pi1 and pi2", all)
	}
}

func TestFreeAddress(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	add(t, r, board(1), "secret")
	first, last := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.3")
	if got, err := r.FreeAddress(first, last, nil); err != nil || got != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("FreeAddress = %v, %v; want 10.0.0.2", got, err)
	}
	used := func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.2") }
	if got, err := r.FreeAddress(first, last, used); err != nil || got != netip.MustParseAddr("10.0.0.3") {
		t.Errorf("FreeAddress with 10.0.0.2 taken = %v, %v; want 10.0.0.3", got, err)
	}
	_, err := r.FreeAddress(first, last, func(netip.Addr) bool { return true })
	const want = "registry: all 3 addresses of 10.0.0.1-10.0.0.3 are taken; widen addresses in the configuration's [dhcp], or remove a board"
	if err == nil || err.Error() != want {
		t.Errorf("FreeAddress = %v; want %s", err, want)
	}
}

func TestConcurrentAddsAndLookups(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	var wg sync.WaitGroup
	const boards = 8
	errs := make([]error, 2*boards)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = r.Add(t.Context(), board(i%boards+1), "secret") // each board twice
			if _, err := r.Find(board(i).Name); err != nil && !errors.Is(err, ErrUnknown) {
				t.Error(err)
			}
			r.CheckToken(board(i).Serial, "secret")
			r.All()
		})
		wg.Go(func() {
			if err := r.Discover(t.Context(), Discovered{MAC: board(i + 1).MAC}); err != nil {
				t.Error(err)
			}
			r.Discovered()
		})
	}
	wg.Wait()
	refused := 0
	for _, err := range errs {
		if err != nil {
			refused++
		}
	}
	if got := len(r.All()); got != boards || refused != boards {
		t.Errorf("%d boards, %d refused; want %d and %d", got, refused, boards, boards)
	}
}

func board(i int) Pi {
	return Pi{
		Serial: pi.Serial(0x10000000 + i),
		MAC:    pi.MAC{0xdc, 0xa6, 0x32, 0, byte(i >> 8), byte(i)},
		Name:   fmt.Sprintf("pi%d", i),
		IP:     netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}),
		Root:   Root{"minimal", 1, pi.ARM64, "reflink"},
	}
}

func add(t *testing.T, r *Registry, p Pi, token string) Pi {
	t.Helper()
	p, err := r.Add(t.Context(), p, token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, s *store.Store) *Registry {
	t.Helper()
	r, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openStore(t *testing.T, file string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func count(t *testing.T, s *store.Store, table string) int {
	t.Helper()
	var n int
	if err := s.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
