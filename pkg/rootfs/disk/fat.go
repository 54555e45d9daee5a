package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Volume reads a FAT12, FAT16 or FAT32 file system (Microsoft, FAT32 File
// System Specification, 2000) with long names.
type Volume struct {
	data io.ReaderAt

	bits         int // of a table entry: 12, 16 or 32
	clusterBytes int64
	clusters     uint32 // numbered from 2
	tableAt      int64
	rootAt       int64 // FAT12 and FAT16: their root directory is not in a cluster
	rootBytes    int64
	rootCluster  uint32 // FAT32
	dataAt       int64
	left         int64 // bytes that the files not visited yet can have together
}

// Offsets in the boot sector.
const (
	fatSectorAt   = 11
	fatClusterAt  = 13
	fatReservedAt = 14
	fatTablesAt   = 16
	fatRootAt     = 17
	fatSectors16  = 19
	fatTable16    = 22
	fatSectors32  = 32
	fatTable32    = 36
	fatRoot32     = 44
)

// Limits of a volume. Boot partitions stay far below.
const (
	maxFATDepth    = 16
	maxFATEntries  = 100000
	maxFATDirBytes = 2 << 20 // 65536 entries, as the specification says
	fatEntryBytes  = 32
)

// OpenFAT reads the boot sector of a FAT volume of size bytes.
func OpenFAT(data io.ReaderAt, size int64) (*Volume, error) {
	boot := make([]byte, sectorBytes)
	if _, err := data.ReadAt(boot, 0); err != nil {
		return nil, fmt.Errorf("reading FAT: %w", noEOF(err))
	}
	u16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(boot[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(boot[at:])) }
	sector, perCluster := u16(fatSectorAt), int64(boot[fatClusterAt])
	table, sectors := u16(fatTable16), u16(fatSectors16)
	v := &Volume{data: data, left: size, bits: 16}
	if table == 0 {
		table, v.bits, v.rootCluster = u32(fatTable32), 32, uint32(u32(fatRoot32))
	}
	if sectors == 0 {
		sectors = u32(fatSectors32)
	}
	if sector < sectorBytes || sector > 4096 || perCluster == 0 || sectors*sector > size {
		return nil, fmt.Errorf("its FAT has %d sectors of %d bytes, %d to a cluster, on %d bytes: it is damaged or cut short", sectors, sector, perCluster, size)
	}
	v.clusterBytes = sector * perCluster
	v.tableAt = u16(fatReservedAt) * sector
	v.rootAt = v.tableAt + int64(boot[fatTablesAt])*table*sector
	v.rootBytes = u16(fatRootAt) * fatEntryBytes
	v.dataAt = (v.rootAt + v.rootBytes + sector - 1) / sector * sector
	if v.dataAt >= sectors*sector {
		return nil, errors.New("its FAT has no room for files: it is damaged")
	}
	v.clusters = uint32((sectors*sector - v.dataAt) / v.clusterBytes)
	if v.bits == 16 && v.clusters < 4085 { // as the specification says
		v.bits = 12
	}
	return v, nil
}

// An Entry is a file or a directory.
type Entry struct {
	Name     string
	Dir      bool
	size     int64
	Modified time.Time
	first    uint32
}

// Walk visits every file and directory, a directory before its entries. It fails
// if the files are larger than the volume.
func (v *Volume) Walk(visit func(name string, e Entry, content io.Reader) error) error {
	root := Entry{Dir: true, first: v.rootCluster}
	left := maxFATEntries
	return v.walkDir("", root, maxFATDepth, &left, visit)
}

func (v *Volume) walkDir(name string, dir Entry, depth int, left *int, visit func(string, Entry, io.Reader) error) error {
	entries, err := v.readDir(dir)
	if err != nil {
		return fmt.Errorf("FAT: directory %q: %w", name, err)
	}
	if *left -= len(entries); depth == 0 || *left < 0 {
		return fmt.Errorf("FAT: directory %q: more than %d levels or %d entries: it is damaged", name, maxFATDepth, maxFATEntries)
	}
	for _, e := range entries {
		inside := strings.TrimPrefix(name+"/"+e.Name, "/")
		if v.left -= e.size; v.left < 0 {
			return fmt.Errorf("FAT: up to %q its files are larger than the partition: it is damaged", inside)
		}
		if err := visit(inside, e, v.open(e)); err != nil {
			return fmt.Errorf("%q: %w", inside, err)
		}
		if e.Dir {
			if err := v.walkDir(inside, e, depth-1, left, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// Top returns the entries of the root directory.
func (v *Volume) Top() ([]Entry, error) {
	return v.readDir(Entry{Dir: true, first: v.rootCluster})
}

func (v *Volume) readDir(dir Entry) ([]Entry, error) {
	from := io.Reader(v.chain(dir.first))
	if dir.first == 0 { // only the root of FAT12 and FAT16
		from = io.NewSectionReader(v.data, v.rootAt, v.rootBytes)
	}
	raw, err := io.ReadAll(io.LimitReader(from, maxFATDirBytes))
	if err != nil {
		return nil, err
	}
	return parseFATDir(raw)
}

// open returns the content of a file. Reading fails if the chain of clusters is
// shorter than the size of the file.
func (v *Volume) open(e Entry) io.Reader {
	return &exactReader{from: v.chain(e.first), left: e.size}
}

// An exactReader reads the first bytes of a stream; a shorter stream is an error.
type exactReader struct {
	from io.Reader
	left int64
}

func (r *exactReader) Read(buf []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.from.Read(buf[:min(int64(len(buf)), r.left)])
	r.left -= int64(n)
	if errors.Is(err, io.EOF) && r.left > 0 {
		err = fmt.Errorf("FAT: the file ends %d bytes early: it is damaged", r.left)
	}
	return n, err
}

// A fatChain reads the clusters of a chain one after the other.
type fatChain struct {
	v       *Volume
	cluster uint32
	within  int64
	left    uint32 // clusters that the chain can still have
}

func (v *Volume) chain(first uint32) *fatChain {
	return &fatChain{v: v, cluster: first, left: v.clusters}
}

func (c *fatChain) Read(buf []byte) (int, error) {
	if c.within == c.v.clusterBytes {
		next, err := c.v.next(c.cluster)
		if err != nil {
			return 0, err
		}
		if c.left--; c.left == 0 {
			return 0, errors.New("FAT: a chain of clusters runs in a circle")
		}
		c.cluster, c.within = next, 0
	}
	if c.cluster < 2 || c.cluster-2 >= c.v.clusters {
		return 0, io.EOF // 0: empty; f8ff and the like: the end; else damage, and exactReader says so
	}
	at := c.v.dataAt + int64(c.cluster-2)*c.v.clusterBytes + c.within
	n, err := c.v.data.ReadAt(buf[:min(int64(len(buf)), c.v.clusterBytes-c.within)], at)
	c.within += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, noEOF(err)
}

// next returns the table entry of a cluster. A value that is not a cluster of the
// volume ends the chain.
func (v *Volume) next(cluster uint32) (uint32, error) {
	raw := make([]byte, 4)
	width := v.bits / 8
	at := v.tableAt + int64(cluster)*int64(width)
	if v.bits == 12 {
		width, at = 2, v.tableAt+int64(cluster)*3/2
	}
	if _, err := v.data.ReadAt(raw[:width], at); err != nil {
		return 0, fmt.Errorf("reading the FAT: %w", noEOF(err))
	}
	value := binary.LittleEndian.Uint32(raw)
	switch {
	case v.bits == 32:
		value &= 0x0fffffff // the top bits are reserved
	case v.bits == 12 && cluster%2 == 1:
		value >>= 4
	case v.bits == 12:
		value &= 0xfff
	}
	return value, nil
}
