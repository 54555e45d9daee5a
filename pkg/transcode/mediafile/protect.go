package mediafile

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// AESBytes is the length of a key, of a key identifier and of an initialization vector.
const AESBytes = 16

// A SampleKey is what samples are encrypted with by the scheme cbcs of ISO 23001-7,
// METHOD=SAMPLE-AES of a playlist.
type SampleKey struct {
	Key [AESBytes]byte
	ID  [AESBytes]byte // the KID
	// IV is what each encrypted range begins with, if an initialization section names
	// this key. All keys of its segments share it.
	IV [AESBytes]byte
}

// NewSampleKey returns a key with an identifier and an initialization vector that follow
// from it, so that what was interrupted is resumed with the same.
func NewSampleKey(key []byte) (SampleKey, error) {
	if len(key) != AESBytes {
		return SampleKey{}, fmt.Errorf("a key of %d bytes; want %d", len(key), AESBytes)
	}
	sum := sha256.Sum256(append([]byte("identifier and IV of "), key...))
	return SampleKey{Key: [AESBytes]byte(key), ID: [AESBytes]byte(sum[:AESBytes]), IV: [AESBytes]byte(sum[AESBytes:])}, nil
}

// A Protection is what an initialization section says of the encryption of its samples.
type Protection struct {
	Scheme string // cbcs; "" if samples are not encrypted
	KeyID  [AESBytes]byte
	IV     [AESBytes]byte
	// CryptBlocks and SkipBlocks are the pattern of encrypted blocks; 0 and 0 if all are.
	CryptBlocks, SkipBlocks int
}

const (
	schemeCBCS = "cbcs"
	// Of ten blocks of video, one is encrypted.
	cryptBlocks = 1
	skipBlocks  = 9
)

// ProtectInit returns an initialization section that says that its samples are
// encrypted with this key, and what encrypts the segments that belong to it.
func ProtectInit(init []byte, key SampleKey) ([]byte, *Protector, error) {
	if len(init) > MaxInitBytes {
		return nil, nil, fmt.Errorf("protecting an initialization section: %d bytes; want %d at most", len(init), MaxInitBytes)
	}
	info, err := parseInit(init)
	if err == nil && info.Protection.Scheme != "" {
		err = errors.New("its samples are encrypted already")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("protecting an initialization section: %w", err)
	}
	p := &Protector{id: key.ID, iv: key.IV, usualSize: info.defaults.size}
	out, err := rewrite(init, []string{"moov", "trak", "mdia", "minf", "stbl", "stsd"}, func(stsd box) (box, error) {
		entry, err := soleEntry(stsd.body)
		if err != nil {
			return box{}, err
		}
		if err := p.learn(entry); err != nil {
			return box{}, err
		}
		return box{stsd.kind, appendBox(slices.Clone(stsd.body[:entriesAt]), p.protected(entry))}, nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("protecting an initialization section: %w", err)
	}
	return out, p, nil
}

// entriesAt is where the entries of a box stsd begin.
const entriesAt = fullBoxBytes + 4

// soleEntry returns the one sample entry of a box stsd.
func soleEntry(stsd []byte) (box, error) {
	f := fields{data: stsd}
	f.full()
	if n := f.uint32(); f.err == nil && n != 1 {
		return box{}, fmt.Errorf("%d sample entries; want one", n)
	}
	if f.err != nil {
		return box{}, f.err
	}
	list, err := boxes(f.data)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("%d sample entries; want one", len(list))
	}
	if err != nil {
		return box{}, err
	}
	return list[0], nil
}

// learn notes how the samples of an entry are made.
func (p *Protector) learn(entry box) error {
	config, lengthAt := "", 0
	switch entry.kind {
	case "avc1":
		config, lengthAt, p.slice, p.lead = "avcC", 4, avcSlice, avcLead
	case "hvc1":
		config, lengthAt, p.slice, p.lead = "hvcC", 21, hevcSlice, hevcLead
	case "mp4a", "ac-3", "ec-3", "Opus":
		return nil
	default:
		return fmt.Errorf("samples of %q; want those of H.264, H.265 or audio", entry.kind)
	}
	f := fields{data: entry.body}
	f.bytes(visualEntryBytes)
	if f.err != nil {
		return f.err
	}
	body, err := find(f.data, config)
	if err != nil {
		return err
	}
	if len(body) <= lengthAt {
		return fmt.Errorf("%s of %d bytes; want more than %d", config, len(body), lengthAt)
	}
	p.lengthBytes = int(body[lengthAt]&3) + 1
	return nil
}

// protected returns a sample entry with the box sinf (ISO 14496-12 §8.12).
func (p *Protector) protected(entry box) box {
	kind := "enca"
	if p.slice != nil {
		kind = "encv"
	}
	scheme := appendBox(nil, box{"schm", append(append(fullBox(0, 0), schemeCBCS...), 0, 1, 0, 0)})
	tenc := append(fullBox(1, 0), 0) // version 1 has a pattern
	information := appendBox(nil, box{"tenc", append(tenc, p.parameters(p.id)...)})
	sinf := appendBox(nil, box{"frma", []byte(entry.kind)})
	sinf = append(sinf, scheme...)
	sinf = appendBox(sinf, box{"schi", information})
	return box{kind, appendBox(slices.Clone(entry.body), box{"sinf", sinf})}
}

// parameters returns what tenc and an entry of the group seig have in common: pattern,
// protection, the size of a sample's own IV, key identifier, and the IV of all samples.
func (p *Protector) parameters(id [AESBytes]byte) []byte {
	pattern := byte(0)
	if p.slice != nil {
		pattern = cryptBlocks<<4 | skipBlocks
	}
	out := append([]byte{pattern, 1, 0}, id[:]...)
	return append(append(out, AESBytes), p.iv[:]...)
}

// readProtection reads the box sinf of an encrypted sample entry, and returns the kind
// of entry that it was before.
func readProtection(entries []byte) (kind string, p Protection, err error) {
	sinf, err := find(entries, "sinf")
	if err != nil {
		return "", p, err
	}
	format, err := find(sinf, "frma")
	if err != nil {
		return "", p, err
	}
	scheme, err := find(sinf, "schm")
	if err != nil {
		return "", p, err
	}
	tenc, err := find(sinf, "schi", "tenc")
	if err != nil {
		return "", p, err
	}
	f := fields{data: scheme}
	f.full()
	p.Scheme = string(f.bytes(4))
	if f.err != nil || len(format) != 4 || p.Scheme != schemeCBCS {
		return "", p, fmt.Errorf("protected by the scheme %.4q; want %s", p.Scheme, schemeCBCS)
	}
	err = p.readDefaults(tenc)
	return string(format), p, err
}

// readDefaults reads the box tenc.
func (p *Protection) readDefaults(tenc []byte) error {
	f := fields{data: tenc}
	f.full()
	f.bytes(1)
	pattern := f.uint8()
	p.CryptBlocks, p.SkipBlocks = int(pattern>>4), int(pattern&0xf)
	is, own := f.uint8(), f.uint8()
	copy(p.KeyID[:], f.bytes(AESBytes))
	size := f.uint8()
	copy(p.IV[:], f.bytes(AESBytes))
	if f.err == nil && (is != 1 || own != 0 || size != AESBytes) {
		return fmt.Errorf("tenc: protected %d, IV of each sample %d bytes, of all %d; want 1, 0 and %d", is, own, size, AESBytes)
	}
	return f.err
}

// WithoutBitrate returns an initialization section of video that does not say which
// bitrate its encoder was asked for (the box btrt), so that encoders that were asked for
// different ones have it in common.
func WithoutBitrate(init []byte) ([]byte, error) {
	out, err := rewrite(init, []string{"moov", "trak", "mdia", "minf", "stbl", "stsd"}, func(stsd box) (box, error) {
		entry, err := soleEntry(stsd.body)
		if err != nil {
			return box{}, err
		}
		if len(entry.body) < visualEntryBytes {
			return box{}, fmt.Errorf("sample entry of %d bytes; want %d at least", len(entry.body), visualEntryBytes)
		}
		list, err := boxes(entry.body[visualEntryBytes:])
		if err != nil {
			return box{}, err
		}
		entry.body = slices.Clone(entry.body[:visualEntryBytes])
		for _, b := range list {
			if b.kind != "btrt" {
				entry.body = appendBox(entry.body, b)
			}
		}
		return box{stsd.kind, appendBox(slices.Clone(stsd.body[:entriesAt]), entry)}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("rewriting an initialization section: %w", err)
	}
	return out, nil
}

// rewrite returns data in which f has changed the first box on a path. The sizes of the
// boxes around it follow.
func rewrite(data []byte, path []string, f func(box) (box, error)) ([]byte, error) {
	list, err := boxes(data)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(b box) bool { return b.kind == path[0] })
	if i < 0 {
		return nil, fmt.Errorf("%w %q", errNoBox, path[0])
	}
	if len(path) > 1 {
		list[i].body, err = rewrite(list[i].body, path[1:], f)
	} else {
		list[i], err = f(list[i])
	}
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, b := range list {
		out = appendBox(out, b)
	}
	return out, nil
}

func appendBox(out []byte, b box) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(boxHeaderBytes+len(b.body)))
	return append(append(out, b.kind...), b.body...)
}

// fullBox returns the begin of the body of a full box.
func fullBox(version uint8, flags uint32) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(version)<<24|flags)
}
