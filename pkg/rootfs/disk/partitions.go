// Package disk reads disk images: partition tables (MBR and GPT) and the FAT file
// system. It needs no privileges and no support by the kernel, and checks every
// number that an image contains before it uses it. It also stores an image that is
// unpacked, without its zeros, and frees the blocks of files that have been copied
// from it.
package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
)

// A Partition is a part of a disk image. Holds comes from its first bytes, because
// the type in a partition table is often wrong.
type Partition struct {
	Number      int
	Start, Size int64  // bytes
	Holds       string // a file system's name; "" if unknown
	Unclean     bool   // ext4 that was in use when the image was made
	Shared      bool   // ext4 with blocks that several files share, as Android makes it
}

// The values of Partition.Holds that an import can read.
const (
	Ext4 = "ext4"
	FAT  = "FAT"
)

const (
	sectorBytes   = 512
	maxPartitions = 128 // the most that sgdisk creates
)

// ReadPartitions reads the partition table (MBR or GPT) of an image of size bytes,
// and the first bytes of each partition. An image that is an ext4 file system
// without a partition table is one partition.
func ReadPartitions(image io.ReaderAt, size int64) ([]Partition, error) {
	list, err := readTable(image, size)
	if err != nil {
		return nil, err
	}
	if err := checkPlaces(list, size); err != nil {
		return nil, err
	}
	for i := range list {
		if err := list[i].look(image); err != nil {
			return nil, fmt.Errorf("partition %d: %w", list[i].Number, err)
		}
	}
	return list, nil
}

// IsImage reports whether head is the start of a disk image: of a partition table
// or of an ext4 file system. It needs the first 2048 bytes.
func IsImage(head []byte) bool {
	return hasAt(head, bootAt, bootMagic) || hasAt(head, extMagicAt, extMagic)
}

func hasAt(head []byte, at int, magic string) bool {
	return len(head) >= at && bytes.HasPrefix(head[at:], []byte(magic))
}

func readTable(image io.ReaderAt, size int64) ([]Partition, error) {
	whole := Partition{Number: 1, Size: size}
	if err := whole.look(image); err == nil && whole.Holds == Ext4 {
		return []Partition{whole}, nil
	}
	mbr := make([]byte, sectorBytes)
	if _, err := image.ReadAt(mbr, 0); err != nil {
		return nil, fmt.Errorf("reading the partition table: %w", noEOF(err))
	}
	entries, err := parseMBR(mbr)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(entries, func(e mbrEntry) bool { return e.kind == mbrProtective }) {
		return readGPT(image)
	}
	return readMBR(image, entries)
}

// checkPlaces refuses partitions that overlap or end after the image.
func checkPlaces(list []Partition, size int64) error {
	if len(list) == 0 {
		return errors.New("the partition table is empty")
	}
	byStart := slices.SortedFunc(slices.Values(list), func(a, b Partition) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	end := int64(0)
	for _, p := range byStart {
		if p.Start < end {
			return fmt.Errorf("partition %d begins at byte %d, inside another one: the partition table is damaged", p.Number, p.Start)
		}
		end = p.Start + p.Size
		if p.Size <= 0 || end > size || end < p.Start {
			return fmt.Errorf("partition %d ends at byte %d, but the image has %d bytes: it is cut short, or its partition table is damaged; fetch it again", p.Number, end, size)
		}
	}
	return nil
}

// MBR: four entries of 16 bytes, then the signature 55 aa.
const (
	bootMagic      = "\x55\xaa"
	bootAt         = 510
	mbrEntriesAt   = 446
	mbrEntryBytes  = 16
	mbrEntries     = 4
	mbrKindAt      = 4
	mbrStartAt     = 8
	mbrSectorsAt   = 12
	mbrProtective  = 0xee // the disk has a GPT
	mbrFirstInside = 5    // the number of the first logical partition
)

type mbrEntry struct {
	kind           byte
	start, sectors uint32
}

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

func (e mbrEntry) partition(number int, base int64) Partition {
	return Partition{Number: number, Start: base + int64(e.start)*sectorBytes, Size: int64(e.sectors) * sectorBytes}
}

// parseMBR returns the four entries of a sector; unused ones have kind 0.
func parseMBR(sector []byte) ([]mbrEntry, error) {
	if !hasAt(sector, bootAt, bootMagic) {
		return nil, errors.New("no partition table (MBR or GPT) and no ext4 file system")
	}
	entries := make([]mbrEntry, mbrEntries)
	for i := range entries {
		raw := sector[mbrEntriesAt+i*mbrEntryBytes:]
		entries[i] = mbrEntry{
			kind:    raw[mbrKindAt],
			start:   binary.LittleEndian.Uint32(raw[mbrStartAt:]),
			sectors: binary.LittleEndian.Uint32(raw[mbrSectorsAt:]),
		}
	}
	return entries, nil
}

func readMBR(image io.ReaderAt, entries []mbrEntry) ([]Partition, error) {
	var list []Partition
	for i, e := range entries {
		switch {
		case e.kind == 0 || e.sectors == 0:
		case e.extended():
			inside, err := readLogical(image, int64(e.start)*sectorBytes)
			if err != nil {
				return nil, err
			}
			list = append(list, inside...)
		default:
			list = append(list, e.partition(i+1, 0))
		}
	}
	return list, nil
}

// readLogical follows the chain of an extended partition. Each link is an MBR: the
// first entry is a partition, relative to this link, and the second is the next
// link, relative to the first link.
func readLogical(image io.ReaderAt, first int64) ([]Partition, error) {
	var list []Partition
	at := first
	for len(list) < maxPartitions {
		sector := make([]byte, sectorBytes)
		if _, err := image.ReadAt(sector, at); err != nil {
			return nil, fmt.Errorf("reading the extended partition at byte %d: %w", at, noEOF(err))
		}
		entries, err := parseMBR(sector)
		if err != nil {
			return nil, fmt.Errorf("extended partition at byte %d: its table is damaged", at)
		}
		if entries[0].kind != 0 {
			list = append(list, entries[0].partition(mbrFirstInside+len(list), at))
		}
		next := first + int64(entries[1].start)*sectorBytes
		if !entries[1].extended() || next <= at { // honest chains go forward
			return list, nil
		}
		at = next
	}
	return nil, fmt.Errorf("more than %d partitions", maxPartitions)
}

// GPT (UEFI 2.10 §5.3): the header in sector 1 says where the entries are.
const (
	gptMagic       = "EFI PART"
	gptHeaderBytes = 92
	gptSumAt       = 16
	gptEntriesAt   = 72
	gptCountAt     = 80
	gptEntryLenAt  = 84
	gptEntriesSum  = 88
	gptMinEntry    = 128
	gptMaxEntry    = 4096
	gptFirstAt     = 32
	gptLastAt      = 40
	gptTypeBytes   = 16
	maxLBA         = 1 << 53 // keeps byte counts in an int64
)

func readGPT(image io.ReaderAt) ([]Partition, error) {
	header := make([]byte, gptHeaderBytes)
	if _, err := image.ReadAt(header, sectorBytes); err != nil {
		return nil, fmt.Errorf("reading the GPT: %w", noEOF(err))
	}
	want := binary.LittleEndian.Uint32(header[gptSumAt:])
	clear(header[gptSumAt : gptSumAt+4])
	if !bytes.HasPrefix(header, []byte(gptMagic)) || crc32.ChecksumIEEE(header) != want {
		return nil, errors.New("the GPT is damaged: its checksum is wrong (disks with sectors other than 512 bytes cannot be read)")
	}
	at := binary.LittleEndian.Uint64(header[gptEntriesAt:])
	count := binary.LittleEndian.Uint32(header[gptCountAt:])
	length := binary.LittleEndian.Uint32(header[gptEntryLenAt:])
	if at >= maxLBA || count > maxPartitions || length < gptMinEntry || length > gptMaxEntry {
		return nil, fmt.Errorf("the GPT has %d entries of %d bytes; want up to %d of %d to %d", count, length, maxPartitions, gptMinEntry, gptMaxEntry)
	}
	entries := make([]byte, int(count)*int(length))
	if _, err := image.ReadAt(entries, int64(at)*sectorBytes); err != nil {
		return nil, fmt.Errorf("reading the GPT's entries: %w", noEOF(err))
	}
	if crc32.ChecksumIEEE(entries) != binary.LittleEndian.Uint32(header[gptEntriesSum:]) {
		return nil, errors.New("the GPT is damaged: its entries' checksum is wrong")
	}
	return parseGPT(entries, int(length))
}

func parseGPT(entries []byte, length int) ([]Partition, error) {
	var list []Partition
	for i := 0; (i+1)*length <= len(entries); i++ {
		entry := entries[i*length:]
		first, last := binary.LittleEndian.Uint64(entry[gptFirstAt:]), binary.LittleEndian.Uint64(entry[gptLastAt:])
		if bytes.Equal(entry[:gptTypeBytes], make([]byte, gptTypeBytes)) {
			continue
		}
		if first > last || last >= maxLBA {
			return nil, fmt.Errorf("partition %d goes from sector %d to %d: the GPT is damaged", i+1, first, last)
		}
		list = append(list, Partition{Number: i + 1, Start: int64(first) * sectorBytes, Size: int64(last-first+1) * sectorBytes})
	}
	return list, nil
}

// magics identify other file systems and volumes by their first bytes.
func magics() []magic {
	return []magic{
		{0, "XFSB", "XFS"},
		{0, "hsqs", "squashfs"},
		{0, "LUKS\xba\xbe", "an encrypted volume (LUKS)"},
		{1024, "\x10\x20\xf5\xf2", "F2FS"},
		{4086, "SWAPSPACE2", "swap"},
		{65600, "_BHRfS_M", "btrfs"},
	}
}

type magic struct {
	at    int64
	text  string
	holds string
}

// look finds out what a partition holds. Holds stays "" if the partition is too
// short to tell.
func (p *Partition) look(image io.ReaderAt) error {
	head := make([]byte, 66<<10)
	n, err := io.NewSectionReader(image, p.Start, p.Size).ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	switch {
	case hasAt(head, extMagicAt, extMagic):
		p.Holds = Ext4
		return p.lookExt(head)
	case hasAt(head, bootAt, bootMagic) && (hasAt(head, 54, "FAT") || hasAt(head, 82, "FAT32")):
		p.Holds = FAT
	}
	for _, m := range magics() {
		if hasAt(head, int(m.at), m.text) {
			p.Holds = m.holds
		}
	}
	return nil
}

// The ext4 superblock (Linux Documentation/filesystems/ext4/super.rst).
const (
	extSuperAt    = 1024
	extMagicAt    = extSuperAt + 0x38
	extMagic      = "\x53\xef"
	extBlocksAt   = extSuperAt + 0x04
	extLogAt      = extSuperAt + 0x18
	extFeaturesAt = extSuperAt + 0x60
	extBlocksHi   = extSuperAt + 0x150
	extReadOnlyAt = extSuperAt + 0x64 // features that a reader may ignore
	extRecover    = 0x4
	extShared     = 0x4000
	ext64Bit      = 0x80
	extMaxLog     = 6
)

// lookExt checks that the file system is not larger than its partition.
func (p *Partition) lookExt(head []byte) error {
	if len(head) < extSuperAt+1024 {
		return errors.New("its ext4 superblock is cut off")
	}
	log := binary.LittleEndian.Uint32(head[extLogAt:])
	features := binary.LittleEndian.Uint32(head[extFeaturesAt:])
	blocks := uint64(binary.LittleEndian.Uint32(head[extBlocksAt:]))
	if features&ext64Bit != 0 {
		blocks |= uint64(binary.LittleEndian.Uint32(head[extBlocksHi:])) << 32
	}
	if log > extMaxLog || blocks == 0 || blocks > uint64(p.Size)>>(10+log) {
		return fmt.Errorf("its ext4 says that it has %d blocks of %d KiB, but the partition has %d KiB: it is damaged or cut short", blocks, 1<<min(log, extMaxLog), p.Size>>10)
	}
	p.Unclean = features&extRecover != 0
	p.Shared = binary.LittleEndian.Uint32(head[extReadOnlyAt:])&extShared != 0
	return nil
}

// Describe lists the partitions and what they hold, for error messages.
func Describe(list []Partition) string {
	var texts []string
	for _, p := range list {
		holds := p.Holds
		if holds == "" {
			holds = "nothing known"
		}
		texts = append(texts, fmt.Sprintf("%d holds %s (%d MB)", p.Number, holds, p.Size/1e6))
	}
	return "partition " + strings.Join(texts, ", ")
}

// noEOF replaces io.EOF by an error that says that the image is cut short.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the image ends before it: it is cut short")
	}
	return err
}
