package worker

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pibootd/pkg/transcode"
)

// proof looks at the segments in dir from the given number on, until one is
// missing, and makes each of them, and dir, durable.
func proof(u transcode.Unit, dir string, p *pulse) (transcode.Result, error) {
	result := transcode.Result{Encoder: "aac"}
	number := 0
	if u.Video != nil {
		result.Encoder = videoEncoder
		number, _ = u.Video.Segments()
	}
	for ; ; number++ {
		segment, info, err := inspect(filepath.Join(dir, transcode.SegmentName(number)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return transcode.Result{}, err
		}
		segment.Seconds = transcode.AudioSeconds(segment.Frames)
		if u.Video != nil {
			segment.Seconds = u.Video.Grid.Seconds(segment.Frames)
		}
		if result.Codecs != "" && result.Codecs != info.Codecs {
			return transcode.Result{}, fmt.Errorf("%s: %s after %s; want one codec for all", segment.Name, info.Codecs, result.Codecs)
		}
		result.Codecs = info.Codecs
		result.Segments = append(result.Segments, segment)
		p.touch(time.Now())
	}
	if err := os.Remove(filepath.Join(dir, indexName)); err != nil {
		return transcode.Result{}, fmt.Errorf("tidying: %w", err)
	}
	return result, syncDir(dir)
}

const readBytes = 256 << 10 // a read of the NFS client's size or so

// inspect reads a segment once: for its hash, and for what is in it.
func inspect(path string) (transcode.Segment, transcode.SegmentInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return transcode.Segment{}, transcode.SegmentInfo{}, fmt.Errorf("reading a segment: %w", err)
	}
	defer f.Close()
	hash, size := sha256.New(), &counter{}
	r := bufio.NewReaderSize(io.TeeReader(f, io.MultiWriter(hash, size)), readBytes)
	info, err := transcode.InspectTS(r)
	if err != nil {
		return transcode.Segment{}, transcode.SegmentInfo{}, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return transcode.Segment{}, transcode.SegmentInfo{}, fmt.Errorf("reading a segment: %w", err)
	}
	if err := f.Sync(); err != nil {
		return transcode.Segment{}, transcode.SegmentInfo{}, fmt.Errorf("syncing a segment: %w", err)
	}
	return transcode.Segment{
		Name:      filepath.Base(path),
		SizeBytes: size.n,
		SHA256:    hex.EncodeToString(hash.Sum(nil)),
		Frames:    info.Frames,
		FirstPTS:  info.FirstPTS,
		LastPTS:   info.LastPTS,
		Key:       info.Key,
	}, info, nil
}

// A counter counts the bytes written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing a directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing a directory: %w", err)
	}
	return nil
}
