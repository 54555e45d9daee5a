package mediafile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// unprotect decrypts a segment by what its own boxes say, and returns its samples. It
// shares nothing with what encrypts: it finds boxes by their names, and reads the group
// seig, saiz, saio and senc by ISO 23001-7.
func unprotect(t *testing.T, init, segment, key []byte) (clear, encrypted int, samples []byte) {
	t.Helper()
	tenc := boxBody(t, init, "tenc")
	pattern, iv := tenc[5], tenc[25:41]
	if tenc[6] != 1 || tenc[7] != 0 || tenc[24] != 16 {
		t.Fatalf("tenc % x; want protection with an IV for all samples", tenc)
	}
	if bytes.Contains(segment, []byte("sgpd")) {
		seig := boxBody(t, segment, "sgpd")[16:]
		pattern, iv = seig[1], seig[21:37]
		if id := boxBody(t, init, "tenc")[8:24]; bytes.Equal(id, seig[4:20]) {
			t.Error("a group of samples has the key identifier of all others; want another")
		}
	}
	moof := bytes.Index(segment, []byte("moof")) - 4
	trun := boxBody(t, segment, "trun")
	data := segment[moof+int(binary.BigEndian.Uint32(trun[8:])):]
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizesOf(t, segment, trun) {
		sample := slices.Clone(data[:size])
		data = data[size:]
		ranges := [][2]int{{0, size}}
		if pattern != 0 {
			ranges = rangesOf(t, segment, moof, i)
		}
		at := 0
		for _, r := range ranges {
			part := sample[at+r[0] : at+r[0]+r[1]]
			clear, encrypted, at = clear+r[0], encrypted+r[1], at+r[0]+r[1]
			mode := cipher.NewCBCDecrypter(block, iv)
			for n := 0; len(part) >= 16; n++ {
				if crypt, all := int(pattern>>4), int(pattern>>4+pattern&15); all == 0 || n%all < crypt {
					mode.CryptBlocks(part[:16], part[:16])
				}
				part = part[16:]
			}
		}
		if at != size {
			t.Errorf("sample %d has %d bytes, its ranges %d", i, size, at)
		}
		samples = append(samples, sample...)
	}
	return clear, encrypted, samples
}

// boxBody returns what follows the name of the first box that is called so.
func boxBody(t *testing.T, data []byte, name string) []byte {
	t.Helper()
	i := bytes.Index(data, []byte(name))
	if i < 4 {
		t.Fatalf("no box %s", name)
	}
	return data[i+4 : i-4+int(binary.BigEndian.Uint32(data[i-4:]))]
}

// sizesOf returns the sizes of the samples of a run as ffmpeg writes them.
func sizesOf(t *testing.T, segment, trun []byte) (sizes []int) {
	t.Helper()
	flags := binary.BigEndian.Uint32(trun) & 0xffffff
	if flags&0x200 == 0 {
		t.Fatalf("a run without sizes, flags %x", flags)
	}
	at, step, first := 12, 0, 0
	if flags&0x4 != 0 {
		at += 4
	}
	for _, flag := range []uint32{0x100, 0x200, 0x400, 0x800} {
		if flag == 0x200 {
			first = step
		}
		if flags&flag != 0 {
			step += 4
		}
	}
	for range binary.BigEndian.Uint32(trun[4:]) {
		sizes = append(sizes, int(binary.BigEndian.Uint32(trun[at+first:])))
		at += step
	}
	return sizes
}

// rangesOf returns the clear and the encrypted bytes of the parts of a sample.
func rangesOf(t *testing.T, segment []byte, moof, sample int) (ranges [][2]int) {
	t.Helper()
	saiz, saio, senc := boxBody(t, segment, "saiz"), boxBody(t, segment, "saio"), boxBody(t, segment, "senc")
	at := moof + int(binary.BigEndian.Uint32(saio[8:]))
	if name := string(segment[at-12 : at-8]); name != "senc" || senc[3] != 2 {
		t.Fatalf("saio leads behind %q, flags of senc %d; want the entries of senc, with subsamples", name, senc[3])
	}
	for _, size := range saiz[9 : 9+sample] {
		at += int(size)
	}
	n := int(binary.BigEndian.Uint16(segment[at:]))
	if size := int(saiz[9+sample]); size != 2+6*n {
		t.Fatalf("%d bytes for %d subsamples", size, n)
	}
	for i := range n {
		entry := segment[at+2+6*i:]
		ranges = append(ranges, [2]int{int(binary.BigEndian.Uint16(entry)), int(binary.BigEndian.Uint32(entry[2:]))})
	}
	return ranges
}

// What is protected is declared, keeps its time stamps, and becomes what it was: with
// the key of the initialization section, and with another.
func TestProtect(t *testing.T) {
	first, err := NewSampleKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewSampleKey([]byte("fedcba9876543210"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"video", "hevc", "audio"} {
		init, segment := testFile(t, name+"-init.mp4"), testFile(t, name+".m4s")
		plain := boxBody(t, segment, "mdat")
		sealed, p, err := ProtectInit(init, first)
		if err != nil {
			t.Fatal(err)
		}
		was, err := InspectInit(bytes.NewReader(init))
		if err != nil {
			t.Fatal(err)
		}
		info, err := InspectInit(bytes.NewReader(sealed))
		if err != nil || info.Codecs != was.Codecs || info.Protection.Scheme != "cbcs" || info.Protection.KeyID != first.ID || info.Protection.IV != first.IV {
			t.Errorf("%s: %+v, %v; want %s by cbcs with the key", name, info, err, was.Codecs)
		}
		for _, key := range []SampleKey{first, second} {
			var out bytes.Buffer
			if err := p.Protect(&out, bytes.NewReader(segment), key); err != nil {
				t.Fatal(err)
			}
			clear, encrypted, samples := unprotect(t, sealed, out.Bytes(), key.Key[:])
			if !bytes.Equal(samples, plain) {
				t.Errorf("%s: the samples are decrypted to %x…; want %x…", name, samples[:16], plain[:16])
			}
			if encrypted == 0 || bytes.Contains(out.Bytes(), plain) {
				t.Errorf("%s: %d bytes are clear, %d encrypted; want some that are", name, clear, encrypted)
			}
			got, err := InspectCMAF(info, bytes.NewReader(out.Bytes()))
			if want, _ := InspectCMAF(was, bytes.NewReader(segment)); err != nil || got != want {
				t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
			}
		}
	}
}

// A frame with more clear bytes, and one with more slices, than their lists can say.
func TestProtectLimits(t *testing.T) {
	p := &Protector{slice: avcSlice, lengthBytes: 4, lead: avcLead}
	unit := func(kind byte, size int) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(size)), append([]byte{kind}, make([]byte, size-1)...)...)
	}
	for _, tt := range []struct {
		sample []byte
		want   []subsample
	}{
		{unit(6, 10), []subsample{{14, 0}}},
		{unit(5, 4+avcLead), []subsample{{8 + avcLead, 0}}}, // too short
		{append(unit(9, 2), unit(5, 1000)...), []subsample{{6 + avcLead, 1004 - avcLead}}},
		{append(unit(6, 0x20000), unit(1, 500)...), []subsample{{0xffff, 0}, {0xffff, 0}, {0x20004 - 2*0xffff + avcLead, 504 - avcLead}}},
		{bytes.Repeat(unit(1, 200), maxSubsamples+1), nil},
		{unit(5, 100)[:50], nil},
		{[]byte{0, 0, 0, 0, 5}, nil},
	} {
		got, err := p.divide(bytes.NewReader(tt.sample), []int{len(tt.sample)})
		if (err == nil) != (tt.want != nil) || err == nil && !slices.Equal(got[0], tt.want) {
			t.Errorf("%d bytes: %v, %v; want %v", len(tt.sample), got, err, tt.want)
		}
	}
}

func TestProtectRefuses(t *testing.T) {
	key, err := NewSampleKey(make([]byte, AESBytes))
	if err != nil {
		t.Fatal(err)
	}
	init, segment := testFile(t, "video-init.mp4"), testFile(t, "video.m4s")
	sealed, p, err := ProtectInit(init, key)
	if err != nil {
		t.Fatal(err)
	}
	var once bytes.Buffer
	if err := p.Protect(&once, bytes.NewReader(segment), key); err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string][]byte{
		"are encrypted already": sealed,
		`samples of "mp4v"`:     testFile(t, "mpeg4-init.mp4"),
		`no box "moov"`:         nil,
	} {
		if _, _, err := ProtectInit(data, key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ProtectInit = %v; want %s", err, want)
		}
	}
	for want, data := range map[string][]byte{
		"which is not encrypted": once.Bytes(),
		"EOF":                    segment[:len(segment)-1],
		"less than their data":   bend(t, segment, "trun", func(b []byte) { b[7]-- }),
		"want 1000000 at most":   bend(t, segment, "trun", func(b []byte) { b[4] = 1 }),
		`"free" of`:              bytes.Replace(segment, []byte("mdat"), []byte("free"), 1),
	} {
		if err := p.Protect(&bytes.Buffer{}, bytes.NewReader(data), key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Protect = %v; want %s", err, want)
		}
	}
	if _, err := NewSampleKey(make([]byte, 8)); err == nil {
		t.Error("half a key is accepted")
	}
}

func FuzzProtect(f *testing.F) {
	for _, name := range []string{"video", "hevc", "audio"} {
		f.Add(testFile(f, name+"-init.mp4"), testFile(f, name+".m4s"))
	}
	key, err := NewSampleKey(make([]byte, AESBytes))
	if err != nil {
		f.Fatal(err)
	}
	other, err := NewSampleKey(bytes.Repeat([]byte{1}, AESBytes))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, head, segment []byte) {
		sealed, p, err := ProtectInit(head, key)
		if err != nil {
			return
		}
		info, err := InspectInit(bytes.NewReader(sealed))
		if err != nil || info.Protection.KeyID != key.ID {
			t.Errorf("what was protected reads as %+v, %v", info, err)
		}
		var out bytes.Buffer
		if err := p.Protect(&out, bytes.NewReader(segment), other); err != nil {
			return
		}
		plain, err := InspectInit(bytes.NewReader(head))
		if err != nil {
			t.Fatal(err)
		}
		got, err := InspectCMAF(info, bytes.NewReader(out.Bytes()))
		if want, errPlain := InspectCMAF(plain, bytes.NewReader(segment)); got != want || (err == nil) != (errPlain == nil) {
			t.Errorf("%+v, %v; want %+v, %v", got, err, want, errPlain)
		}
	})
}

func TestWithoutBitrate(t *testing.T) {
	plain := testFile(t, "video-init.mp4")
	init, err := rewrite(plain, []string{"moov", "trak", "mdia", "minf", "stbl", "stsd"}, func(stsd box) (box, error) {
		entry, err := soleEntry(stsd.body)
		entry.body = appendBox(slices.Clone(entry.body), box{"btrt", make([]byte, 12)})
		return box{"stsd", appendBox(stsd.body[:entriesAt:entriesAt], entry)}, err
	})
	if err != nil || bytes.Equal(init, plain) {
		t.Fatal(err)
	}
	for _, data := range [][]byte{init, plain} {
		if out, err := WithoutBitrate(data); err != nil || !bytes.Equal(out, plain) {
			t.Errorf("%d bytes become %d, %v; want the %d without btrt", len(data), len(out), err, len(plain))
		}
	}
	if _, err := WithoutBitrate([]byte("nothing")); err == nil {
		t.Error("nothing is accepted")
	}
}
