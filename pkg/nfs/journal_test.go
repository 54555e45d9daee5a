package nfs

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

func mustJournal(t *testing.T, file string) *journal {
	t.Helper()
	j, err := openJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.file.Close() })
	return j
}

func keyNo(n int) rpc.ReplayKey {
	return rpc.ReplayKey{XID: uint32(n), Program: 100003, Procedure: 12, Size: 40}
}

// answerAs has a process answer a call.
func answerAs(t *testing.T, j *journal, client netip.Addr, key rpc.ReplayKey, reply string) {
	t.Helper()
	running, again, out := j.begin(client, key)
	if again != nil || out != nil {
		t.Fatalf("a new call is known: begun %v, reply %q", again, out)
	}
	if err := running.write(nil); err != nil {
		t.Fatal(err)
	}
	if reply == "" {
		return // killed before it was answered
	}
	if err := running.write([]byte(reply)); err != nil {
		t.Fatal(err)
	}
}

func TestJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "calls")
	other := netip.MustParseAddr("10.0.0.2")
	first := mustJournal(t, file)
	answerAs(t, first, loopback, keyNo(1), "one")
	answerAs(t, first, other, keyNo(1), "another's one") // xids are each client's own
	answerAs(t, first, loopback, keyNo(2), "")

	second := mustJournal(t, file)
	if _, _, out := second.begin(loopback, keyNo(1)); string(out) != "one" {
		t.Errorf("reply = %q; want that of the first process", out)
	}
	if _, _, out := second.begin(other, keyNo(1)); string(out) != "another's one" {
		t.Errorf("reply = %q; want the other client's own", out)
	}
	running, again, out := second.begin(loopback, keyNo(2))
	if again == nil || again.Sec == 0 || out != nil {
		t.Errorf("a call that was begun and not answered: begun %v, reply %q; want a time and no reply", again, out)
	}
	if err := running.write(nil); err != nil { // and killed again
		t.Fatal(err)
	}
	third := mustJournal(t, file)
	if _, stillAgain, _ := third.begin(loopback, keyNo(2)); stillAgain == nil || *stillAgain != *again {
		t.Errorf("after the second kill it was begun %v; want %v", stillAgain, again)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v; want mode 0600", info, err)
	}
}

// TestJournalGoesRound: the file does not grow, and the latest calls are known.
func TestJournalGoesRound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "calls")
	j := mustJournal(t, file)
	const calls = journalSlots + 100
	for i := range calls {
		answerAs(t, j, loopback, keyNo(i), "reply")
	}
	if info, err := os.Stat(file); err != nil || info.Size() > (journalSlots+1)*slotSize {
		t.Errorf("the file: %v, %v; want %d bytes at most", info, err, (journalSlots+1)*slotSize)
	}
	j = mustJournal(t, file)
	answerAs(t, j, loopback, keyNo(0), "reply") // forgotten, so new
	answerAs(t, j, loopback, keyNo(calls), "reply")
	j = mustJournal(t, file)
	for _, n := range []int{0, calls, calls - 1, calls - journalSlots + 2} {
		if _, _, out := j.begin(loopback, keyNo(n)); string(out) != "reply" {
			t.Errorf("call %d = %q; want its reply", n, out)
		}
	}
}

// TestBrokenJournal: what a crash or a hand made of the file costs what was in
// it, and nothing else.
func TestBrokenJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "calls")
	j := mustJournal(t, file)
	answerAs(t, j, loopback, keyNo(1), "one")
	answerAs(t, j, loopback, keyNo(2), "two")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[slotSize+slotArgs] ^= 1
	for name, test := range map[string]struct {
		content  []byte
		one, two string
	}{
		"whole":           {good, "one", "two"},
		"empty":           {nil, "", ""},
		"another program": {bytes.Repeat([]byte("x"), 3000), "", ""},
		"cut":             {good[:len(good)-1], "one", ""},
		"a bit flipped":   {flipped, "", "two"},
	} {
		if err := os.WriteFile(file, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		j := mustJournal(t, file)
		for n, want := range map[int]string{1: test.one, 2: test.two} {
			if _, _, out := j.begin(loopback, keyNo(n)); string(out) != want {
				t.Errorf("%s: call %d = %q; want %q", name, n, out, want)
			}
		}
		answerAs(t, j, loopback, keyNo(3), "three")
		if _, _, out := mustJournal(t, file).begin(loopback, keyNo(3)); string(out) != "three" {
			t.Errorf("%s: call 3 = %q; want it kept", name, out)
		}
	}
}

func FuzzParseSlot(f *testing.F) {
	slot := append(newSlot(1, journalKey{loopback, keyNo(1)}, unix.StatxTimestamp{Sec: 1}), "reply"...)
	f.Add(slot)
	f.Add(slot[:10])
	f.Fuzz(func(t *testing.T, slot []byte) { parseSlot(slot) })
}
