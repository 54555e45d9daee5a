package nfs

import (
	"encoding/hex"
	"testing"
)

// TestSum has the examples of NIST SP 800-38B, appendix D.3.
func TestSum(t *testing.T) {
	const message = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" +
		"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
	key, err := newHandleKey(unhex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		length int
		want   string
	}{
		{0, "028962f61b7bf89efc6b551f4667d983"},
		{16, "28a7023f452e8f82bd4bf28d8c37c35c"},
		{40, "aaf3d8f1de5640c232f5b169b9c911e6"},
		{64, "e1992190549f6ed5696a2c056c315410"},
	} {
		got := key.appendSum([]byte("x"), unhex(t, message)[:tt.length])
		if got[0] != 'x' || hex.EncodeToString(got[1:]) != tt.want {
			t.Errorf("MAC of %d bytes = %x; want 78%s", tt.length, got, tt.want)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testHandleKey(t testing.TB) *handleKey {
	t.Helper()
	key, err := newHandleKey(testKey())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func BenchmarkSum(b *testing.B) {
	key, handle, out := testHandleKey(b), make([]byte, 14), make([]byte, 0, maxHandle)
	for b.Loop() {
		key.appendSum(out, handle)
	}
}
