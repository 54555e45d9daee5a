package mediafile

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Protector encrypts the samples of segments that belong to one initialization
// section: of video parts of slices, of audio whole samples.
type Protector struct {
	id, iv    [AESBytes]byte // of the key that the initialization section names
	usualSize uint32         // of samples, if their fragment names none

	// Of video only:
	slice       func(header byte) bool // of the first byte of a NAL unit: whether it is a slice
	lengthBytes int                    // before each NAL unit
	lead        int                    // bytes of a slice that stay clear, its length included
}

// The begin of a slice stays clear, because decoders have to read its header
// (ISO 23001-7 §10.4.2). Headers of H.264 have a few dozen bytes at most; those of H.265
// name the begin of each row of blocks.
const (
	avcLead  = 96
	hevcLead = 272
)

func avcSlice(header byte) bool { return header&0x1f >= 1 && header&0x1f <= 5 }

func hevcSlice(header byte) bool { return header>>1&0x3f < 32 }

// A subsample is a part of a sample that is clear, and one after it that is encrypted.
type subsample struct{ clear, protected int }

const (
	maxSubsamples = (255 - 2) / 6 // a box saiz has one byte for the size of their list
	maxClear      = 0xffff        // bytes of a subsample that are clear
)

// Protect writes a segment with encrypted samples. It reads r twice, so it needs little
// memory.
func (p *Protector) Protect(w io.Writer, r io.ReadSeeker, key SampleKey) error {
	block, err := aes.NewCipher(key.Key[:])
	if err != nil {
		return fmt.Errorf("protecting a segment: %w", err)
	}
	out := bufio.NewWriterSize(w, strideBytes)
	for n, more := 0, true; more && err == nil; n++ {
		if n > maxBoxes {
			return fmt.Errorf("protecting a segment: more than %d boxes", maxBoxes)
		}
		more, err = p.protectBox(out, r, block, key)
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("protecting a segment: %w", err)
	}
	return nil
}

// protectBox copies the next box of a segment, or encrypts the next fragment. The index
// (sidx) is left out: what it says of sizes is no longer right, and nobody needs it.
func (p *Protector) protectBox(w io.Writer, r io.ReadSeeker, block cipher.Block, key SampleKey) (more bool, err error) {
	var header [boxHeaderBytes]byte
	if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	size, kind := int64(binary.BigEndian.Uint32(header[:])), string(header[4:])
	switch {
	case size < boxHeaderBytes || kind == "moof" && size > maxMoofBytes || kind == "mdat":
		return false, fmt.Errorf("box %q of %d bytes; want a fragment of %d at most, and its data behind it", kind, size, maxMoofBytes)
	case kind == "moof":
		return true, p.protectFragment(w, r, size-boxHeaderBytes, block, key)
	case kind == "sidx":
		_, err := io.CopyN(io.Discard, r, size-boxHeaderBytes)
		return true, err
	}
	if _, err := w.Write(header[:]); err != nil {
		return false, err
	}
	_, err = io.CopyN(w, r, size-boxHeaderBytes)
	return true, err
}

// protectFragment encrypts a fragment whose body has this size, and the data behind it.
func (p *Protector) protectFragment(w io.Writer, r io.ReadSeeker, size int64, block cipher.Block, key SampleKey) error {
	moof := make([]byte, size)
	var header [boxHeaderBytes]byte
	if _, err := io.ReadFull(r, moof); err != nil {
		return err
	}
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	left := int64(binary.BigEndian.Uint32(header[:])) - boxHeaderBytes
	if string(header[4:]) != "mdat" || left < 0 {
		return fmt.Errorf("box %q of %d bytes follows a fragment; want mdat", header[4:], left+boxHeaderBytes)
	}
	sizes, err := p.sampleSizes(moof, left)
	if err != nil {
		return err
	}
	begin, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	samples, err := p.divide(r, sizes)
	if err != nil {
		return err
	}
	if moof, err = p.describe(moof, samples, key); err != nil {
		return err
	}
	if _, err := r.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	if _, err := w.Write(append(appendBox(nil, box{"moof", moof}), header[:]...)); err != nil {
		return err
	}
	return p.encrypt(w, io.LimitReader(r, left), sizes, samples, block)
}

// sampleSizes returns the sizes of the samples of a fragment, which must be one run that
// fills its data.
func (p *Protector) sampleSizes(moof []byte, data int64) ([]int, error) {
	list, err := boxes(moof)
	if err != nil {
		return nil, err
	}
	if n := count(list, "traf"); n != 1 {
		return nil, fmt.Errorf("%d tracks; want one", n)
	}
	traf, err := find(moof, "traf")
	if err != nil {
		return nil, err
	}
	if list, err = boxes(traf); err != nil {
		return nil, err
	}
	if n := count(list, "trun"); n != 1 || count(list, "senc") > 0 {
		return nil, fmt.Errorf("%d runs of samples; want one, which is not encrypted", n)
	}
	usual, err := usualSize(traf)
	if err != nil {
		return nil, err
	}
	if usual == 0 {
		usual = p.usualSize
	}
	trun, err := firstBox(list, "trun")
	if err != nil {
		return nil, err
	}
	sizes, err := runSizes(trun, usual, int64(len(moof)+2*boxHeaderBytes))
	for _, size := range sizes {
		data -= int64(size)
	}
	if err == nil && data != 0 {
		err = fmt.Errorf("the samples have %d bytes less than their data; want them to fill it", data)
	}
	return sizes, err
}

func count(list []box, kind string) int {
	n := 0
	for _, b := range list {
		if b.kind == kind {
			n++
		}
	}
	return n
}

// runSizes returns the sizes of the samples of a run, the first of which is at begin.
func runSizes(trun []byte, usual uint32, begin int64) ([]int, error) {
	f := fields{data: trun}
	_, flags := f.full()
	n := f.uint32()
	offset := int64(int32(f.uint32()))
	if flags&runFirstFlags != 0 {
		f.bytes(4)
	}
	if f.err != nil || flags&runDataOffset == 0 || offset != begin || n > maxMoofSamples {
		return nil, fmt.Errorf("%d samples at %d (%v); want %d at most, at %d", n, offset, f.err, maxMoofSamples, begin)
	}
	var sizes []int
	for range n {
		size := usual
		if flags&runDuration != 0 {
			f.bytes(4)
		}
		if flags&runSize != 0 {
			size = f.uint32()
		}
		if flags&runFlags != 0 {
			f.bytes(4)
		}
		if flags&runOffset != 0 {
			f.bytes(4)
		}
		if f.err != nil {
			return nil, f.err
		}
		sizes = append(sizes, int(min(size, 1<<31-1)))
	}
	return sizes, nil
}

// divide divides samples of these sizes into subsamples. Those of audio have none: all
// of their blocks are encrypted.
func (p *Protector) divide(r io.Reader, sizes []int) ([][]subsample, error) {
	samples := make([][]subsample, len(sizes))
	if p.slice == nil {
		return samples, nil
	}
	in := bufio.NewReaderSize(r, strideBytes)
	for i, size := range sizes {
		var err error
		if samples[i], err = p.divideSample(in, size); err != nil {
			return nil, fmt.Errorf("sample %d: %w", i, err)
		}
	}
	return samples, nil
}

func (p *Protector) divideSample(in *bufio.Reader, size int) ([]subsample, error) {
	var list []subsample
	clear := 0
	for size > 0 {
		head := make([]byte, p.lengthBytes+1)
		if _, err := io.ReadFull(in, head); err != nil {
			return nil, err
		}
		length := 0
		for _, b := range head[:p.lengthBytes] {
			length = length<<8 | int(b)
		}
		if length < 1 || length > size-p.lengthBytes {
			return nil, fmt.Errorf("a NAL unit of %d bytes in %d; want it whole", length, size-p.lengthBytes)
		}
		if _, err := in.Discard(length - 1); err != nil {
			return nil, err
		}
		all := p.lengthBytes + length
		size -= all
		if !p.slice(head[p.lengthBytes]) || all < p.lead+aes.BlockSize {
			clear += all
			continue
		}
		list = append(clearOf(list, clear+p.lead), subsample{(clear + p.lead) % maxClear, all - p.lead})
		clear = 0
	}
	if clear > 0 {
		list = append(clearOf(list, clear), subsample{clear % maxClear, 0})
	}
	if len(list) > maxSubsamples {
		return nil, fmt.Errorf("%d slices; want %d at most", len(list), maxSubsamples)
	}
	return list, nil
}

// clearOf appends as many subsamples of the largest size as fit into clear bytes.
func clearOf(list []subsample, clear int) []subsample {
	for range min(clear/maxClear, maxSubsamples+1) {
		list = append(list, subsample{maxClear, 0})
	}
	return list
}

// describe returns the body of a fragment that says how its samples are encrypted
// (ISO 23001-7 §7).
func (p *Protector) describe(moof []byte, samples [][]subsample, key SampleKey) ([]byte, error) {
	end, err := endOf(moof, "traf")
	if err != nil {
		return nil, err
	}
	var extra []byte
	if key.ID != p.id {
		extra = p.group(len(samples), key)
	}
	if p.slice != nil {
		extra = appendSubsamples(extra, samples, boxHeaderBytes+end)
	}
	out, err := rewrite(moof, []string{"traf"}, func(traf box) (box, error) {
		return box{traf.kind, append(slices.Clone(traf.body), extra...)}, nil
	})
	if err != nil {
		return nil, err
	}
	if len(out) > maxMoofBytes-boxHeaderBytes {
		return nil, fmt.Errorf("a fragment of %d bytes; want %d at most", len(out), maxMoofBytes)
	}
	return rewrite(out, []string{"traf", "trun"}, func(trun box) (box, error) {
		at := trun.body[fullBoxBytes+4:] // the data's offset, which runSizes has read
		binary.BigEndian.PutUint32(at, binary.BigEndian.Uint32(at)+uint32(len(extra)))
		return trun, nil
	})
}

// endOf returns where the first box of a kind ends.
func endOf(data []byte, kind string) (int, error) {
	list, err := boxes(data)
	if err != nil {
		return 0, err
	}
	end := 0
	for _, b := range list {
		if end += boxHeaderBytes + len(b.body); b.kind == kind {
			return end, nil
		}
	}
	return 0, fmt.Errorf("%w %q", errNoBox, kind)
}

// appendSubsamples appends to the boxes of a track fragment, which begin at this place of
// the fragment, those that have the lists of subsamples: senc, and what says where they are.
func appendSubsamples(out []byte, samples [][]subsample, begin int) []byte {
	sizes, entries := subsampleLists(samples)
	n := binary.BigEndian.AppendUint32(nil, uint32(len(samples)))
	out = appendBox(out, box{"saiz", slices.Concat(fullBox(0, 0), []byte{0}, n, sizes)})
	head := len(appendBox(nil, box{"saio", make([]byte, fullBoxBytes+8)})) + boxHeaderBytes + fullBoxBytes + len(n)
	at := binary.BigEndian.AppendUint32(nil, uint32(begin+len(out)+head))
	out = appendBox(out, box{"saio", slices.Concat(fullBox(0, 0), []byte{0, 0, 0, 1}, at)})
	return appendBox(out, box{"senc", slices.Concat(fullBox(0, sencSubsamples), n, entries)})
}

// sencSubsamples is the flag of a box senc whose samples have subsamples.
const sencSubsamples = 0x2

// subsampleLists returns the lists of subsamples as the box senc has them, and their sizes.
func subsampleLists(samples [][]subsample) (sizes, entries []byte) {
	for _, list := range samples {
		sizes = append(sizes, byte(2+6*len(list)))
		entries = binary.BigEndian.AppendUint16(entries, uint16(len(list)))
		for _, s := range list {
			entries = binary.BigEndian.AppendUint16(entries, uint16(s.clear))
			entries = binary.BigEndian.AppendUint32(entries, uint32(s.protected))
		}
	}
	return sizes, entries
}

// group puts all samples of a fragment in a group with another key than the
// initialization section names (ISO 23001-7 §6).
func (p *Protector) group(samples int, key SampleKey) []byte {
	entry := append([]byte{0}, p.parameters(key.ID)...)
	size := binary.BigEndian.AppendUint32(nil, uint32(len(entry)))
	n := binary.BigEndian.AppendUint32(nil, uint32(samples))
	one, kind := []byte{0, 0, 0, 1}, []byte("seig")
	first := []byte{0, 1, 0, 1} // of the groups of this fragment
	out := appendBox(nil, box{"sgpd", slices.Concat(fullBox(1, 0), kind, size, one, entry)})
	return appendBox(out, box{"sbgp", slices.Concat(fullBox(0, 0), kind, one, n, first)})
}

// strideBytes is how much is encrypted at once: whole patterns.
const strideBytes = 400 * (cryptBlocks + skipBlocks) * aes.BlockSize

// encrypt copies samples and encrypts the protected parts of them.
func (p *Protector) encrypt(w io.Writer, r io.Reader, sizes []int, samples [][]subsample, block cipher.Block) error {
	in, buf := bufio.NewReaderSize(r, strideBytes), make([]byte, strideBytes)
	for i, size := range sizes {
		if p.slice == nil {
			if err := encryptRange(w, in, size, aes.BlockSize, cipher.NewCBCEncrypter(block, p.iv[:]), buf); err != nil {
				return err
			}
		}
		for _, s := range samples[i] {
			if _, err := io.CopyN(w, in, int64(s.clear)); err != nil {
				return err
			}
			// Each encrypted range begins with the IV (ISO 23001-7 §9.6).
			mode := cipher.NewCBCEncrypter(block, p.iv[:])
			if err := encryptRange(w, in, s.protected, (cryptBlocks+skipBlocks)*aes.BlockSize, mode, buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// encryptRange encrypts the first block of every so many bytes. What is no whole block
// stays clear.
func encryptRange(w io.Writer, r io.Reader, size, every int, mode cipher.BlockMode, buf []byte) error {
	for size > 0 {
		part := buf[:min(size, len(buf))]
		if _, err := io.ReadFull(r, part); err != nil {
			return err
		}
		for at := 0; at+aes.BlockSize <= len(part); at += every {
			mode.CryptBlocks(part[at:at+aes.BlockSize], part[at:at+aes.BlockSize])
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		size -= len(part)
	}
	return nil
}
