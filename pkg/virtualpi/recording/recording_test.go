//go:build linux

package recording

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Records are whole whatever segments they come in: cut anywhere, twice, or in another order.
func TestRecordsOfSegments(t *testing.T) {
	var sent []byte
	want := []string{"first", "", "the third one"}
	for _, r := range want {
		sent = append(sent, record([]byte(r))...)
	}
	// The last record in two fragments.
	sent = append(append(binary.BigEndian.AppendUint32(sent, 2), "tw"...), record([]byte("o"))...)
	want = append(want, "two")
	const start = 1<<32 - 7 // sequence numbers wrap
	segment := func(h *half, from, to int, f func([]byte) error) {
		if err := h.take(uint32(start+1+from), false, sent[from:to], f); err != nil {
			t.Fatal(err)
		}
	}
	for size := 1; size <= len(sent); size++ {
		var h half
		var got []string
		f := func(r []byte) error { got = append(got, string(r)); return nil }
		number := uint32(start)
		if err := h.take(number, true, nil, f); err != nil {
			t.Fatal(err)
		}
		for from := 0; from < len(sent); from += 2 * size {
			middle, end := min(from+size, len(sent)), min(from+2*size, len(sent))
			segment(&h, middle, end, f) // before its predecessor
			segment(&h, from, middle, f)
			segment(&h, from, middle, f) // again
		}
		if !slices.Equal(got, want) {
			t.Errorf("segments of %d bytes have the records %q; want %q", size, got, want)
		}
	}
}

// The recordings are of whole boots, and everything they refer to is in them.
func TestRecordings(t *testing.T) {
	names, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(names) != 2 {
		t.Fatalf("recordings %q, %v; want two", names, err)
	}
	for _, name := range names {
		r, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Discovers) < 2 || !slices.ContainsFunc(r.Files, func(f File) bool { return f.Size > 10<<20 }) {
			t.Errorf("%s has %d DHCP messages and %d files; want a DISCOVER, a REQUEST and a kernel", name, len(r.Discovers), len(r.Files))
		}
		for i, n := range r.Nodes {
			if i > 0 && (n.Parent >= i || n.Name == "" || strings.Contains(n.Name, "/") || n.Name == "..") {
				t.Errorf("%s: node %d is %+v; want it in a node before it", name, i, n)
			}
		}
		for i, c := range r.Calls {
			if max(c.Node, c.Other, c.Gives) >= len(r.Nodes) || c.After > i {
				t.Errorf("%s: call %d is %+v; want nodes that are there, and replies to calls before it", name, i, c)
			}
		}
	}
}
