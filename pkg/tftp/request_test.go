package tftp

import (
	"io/fs"
	"strings"
	"testing"
	"time"
)

func TestAgree(t *testing.T) {
	const size = 123_456
	for _, test := range []struct {
		asked string // names and values
		mtu   int
		oack  string
		block int
	}{
		{"", 1500, "", 512},
		{"tsize 0", 1500, "tsize 123456", 512},
		{"tsize 0 blksize 1024", 1500, "tsize 123456 blksize 1024", 1024},
		{"blksize 1468", 1500, "blksize 1468", 1468},
		{"blksize 1469", 1500, "blksize 1468", 1468},
		{"blksize 65464", 9000, "blksize 8968", 8968},
		{"blksize 65464", 65536, "blksize 65464", 65464},
		{"blksize 99999999999999999999999999", 1500, "", 512},
		{"blksize 70000", 65536, "blksize 65464", 65464},
		{"blksize 8", 1500, "blksize 8", 8},
		{"blksize 7", 1500, "", 512},
		{"blksize 0", 1500, "", 512},
		{"blksize -1", 1500, "", 512},
		{"blksize +512", 1500, "", 512},
		{"blksize 1e3", 1500, "", 512},
		{"blksize 0x400", 1500, "", 512},
		{"blksize 1024 blksize 600", 1500, "blksize 1024", 1024},
		{"BlkSize 600 TSIZE 0", 1500, "blksize 600 tsize 123456", 600},
		{"windowsize 4", 1500, "windowsize 4", 512},
		{"windowsize 65535", 1500, "windowsize 64", 512},
		{"windowsize 0", 1500, "", 512},
		{"timeout 1", 1500, "timeout 1", 512},
		{"timeout 255", 1500, "", 512},
		{"timeout 0", 1500, "", 512},
		{"multicast 1 utimeout 5 tsize 0", 1500, "tsize 123456", 512},
	} {
		options := parseOptions([]byte(strings.ReplaceAll(test.asked, " ", "\x00") + "\x00"))
		got := agree(options, size, test.mtu, time.Second)
		oack := ""
		if got.oack != nil {
			oack = strings.ReplaceAll(strings.TrimSuffix(string(got.oack[2:]), "\x00"), "\x00", " ")
		}
		if oack != test.oack || got.block != test.block {
			t.Errorf("agree(%q) on MTU %d = %q with blocks of %d; want %q, %d", test.asked, test.mtu, oack, got.block, test.oack, test.block)
		}
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"bootcode.bin":          "bootcode.bin",
		"a2ef5644/start.elf":    "a2ef5644/start.elf",
		"/a2ef5644//config.txt": "a2ef5644/config.txt",
		"///a":                  "a",
		"./a/./b/":              "a/b",
		"overlays/..dtbo":       "overlays/..dtbo",
		"dc-a6-32-01-36-c2/a b": "dc-a6-32-01-36-c2/a b",
		"/etc/passwd":           "etc/passwd",
		"":                      "",
		"/":                     "",
		".":                     "",
		"..":                    "",
		"../a":                  "",
		"a/../b":                "",
		"a/..":                  "",
		`..\a`:                  "",
		`a\b`:                   "",
		"a\x00b":                "",
		"a\nb":                  "",
		"a\x7fb":                "",
		"a\xffb":                "",
	} {
		if got, ok := cleanName(in); ok != (want != "") || ok && got != want {
			t.Errorf("cleanName(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("\x00\x01bootcode.bin\x00octet\x00"))
	f.Add([]byte("\x00\x01/a2ef5644/start4.elf\x00octet\x00tsize\x000\x00blksize\x001468\x00"))
	f.Add([]byte("\x00\x02../x\x00netascii\x00windowsize\x0065535\x00timeout\x00255\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		req, err := parseRequest(packet)
		if err != nil || req.refuse() != nil {
			return
		}
		name, ok := cleanName(req.name)
		if !ok || !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00") {
			t.Errorf("a Source would be asked for %q", name)
		}
		got := agree(req.options, 1<<40, 1500, time.Second)
		if got.block < minBlock || got.block > 1468 || got.window < 1 || got.window > maxWindow ||
			got.timeout < time.Second || got.timeout > maxTimeout || len(got.oack) > maxRequest {
			t.Errorf("agreed on %+v", got)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte{0, opAck, 1, 2})
	f.Add([]byte("\x00\x05\x00\x00Early terminate\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if _, ok, err := parseReply(packet); ok && (err != nil || len(packet) < headerLen) {
			t.Errorf("parseReply(%x) is an ACK and %v", packet, err)
		}
	})
}
