package rpc

import (
	"bytes"
	"strings"
	"testing"
)

func TestReadRecord(t *testing.T) {
	const last = LastFragment
	for _, tt := range []struct {
		name string
		in   []byte
		want string
		err  string
	}{
		{"one fragment", append(words(last|4), "abcd"...), "abcd", ""},
		{"three fragments", bytes.Join([][]byte{words(2), []byte("ab"), words(0), words(last | 1), []byte("c")}, nil), "abc", ""},
		{"empty", words(last), "", ""},
		{"longest", append(words(last|8), "12345678"...), "12345678", ""},
		{"too long", append(words(last|9), "123456789"...), "", "record of more than 9 bytes; want at most 8"},
		{"two gigabytes", words(1<<32 - 1), "", "want at most 8"},
		{"too long in parts", bytes.Join([][]byte{words(5), []byte("12345"), words(last | 4)}, nil), "", "record of more than 9 bytes"},
		{"cut in the mark", []byte{0x80, 0}, "", "reading a record mark"},
		{"cut in the fragment", append(words(last|4), "ab"...), "", "reading a fragment of 4 bytes: unexpected EOF"},
		{"cut between fragments", append(words(2), "ab"...), "", "reading a record mark: EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			buf := &Buffer{memory: NewMemory(0)}
			err := readRecord(bytes.NewReader(tt.in), 8, buf)
			if tt.err == "" && (err != nil || string(buf.Bytes) != tt.want) {
				t.Errorf("readRecord = %q, %v; want %q", buf.Bytes, err, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("readRecord = %v; want %q", err, tt.err)
			}
		})
	}
}
