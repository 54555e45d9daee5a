package worker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// proof looks at what ffmpeg has made of u in dir, and makes it durable.
func (w *Worker) proof(ctx context.Context, u transcode.Unit, dir string, p *pulse) (transcode.Result, error) {
	if u.Join != nil {
		return w.fileProof(ctx, u.Join.Format, dir, p)
	}
	if u.Cover != nil {
		pictures, err := picturesProof(dir, transcode.PosterName)
		return transcode.Result{Pictures: pictures, Encoder: "mjpeg"}, err
	}
	if u.Lift != nil {
		return liftProof(dir)
	}
	if u.Whole != nil {
		return w.fileProof(ctx, u.Whole.Format, dir, p)
	}
	if u.Kind == transcode.KindTrial {
		return trialProof(*u.Video, dir)
	}
	if u.Kind == transcode.KindSurvey {
		return surveyProof(*u.Video, dir)
	}
	if u.Container() == transcode.ContainerNUT {
		result, err := w.nutProof(ctx, u, dir, p)
		result.Held = p.held
		return result, err
	}
	var result transcode.Result
	for i, piece := range transcode.Pieces(u, result) {
		r, err := pieceProof(piece.Unit, filepath.Join(dir, piece.Dir), p)
		if err != nil {
			return transcode.Result{}, err
		}
		if i == 0 {
			result = r
		} else {
			result.Others = append(result.Others, r)
		}
	}
	result.Unread = p.unread
	if u.Video != nil || u.Audio != nil {
		result.Held = p.held
	}
	if u.Video == nil || u.Video.Pictures == nil {
		return result, nil
	}
	var err error
	result.Pictures, err = picturesProof(dir, u.Video.PictureNames()...)
	return result, err
}

func pieceProof(u transcode.Unit, dir string, p *pulse) (transcode.Result, error) {
	if u.Text != nil {
		return textProof(*u.Text, dir, p)
	}
	return segmentsProof(u, dir, p)
}

// segmentsProof looks at the segments in dir from the given number on, until
// one is missing, and makes each of them, and dir, durable.
func segmentsProof(u transcode.Unit, dir string, p *pulse) (transcode.Result, error) {
	result := transcode.Result{}
	number := 0
	if u.Audio != nil {
		result.Encoder = u.Audio.Rendition.EncoderName()
		number = u.Audio.First
		if err := dropAround(*u.Audio, dir); err != nil {
			return transcode.Result{}, err
		}
	}
	if u.Video != nil {
		result.Encoder = encoderOf(*u.Video)
		number, _ = u.Video.Segments()
	}
	look := inspector(mediafile.InspectTS)
	if u.Container() == transcode.ContainerCMAF {
		if u.Video != nil && u.Video.Rendition.BudgetBPS > 0 {
			if err := dropBitrate(filepath.Join(dir, transcode.InitName)); err != nil {
				return transcode.Result{}, err
			}
		}
		init, info, err := initProof(dir)
		if err != nil {
			return transcode.Result{}, err
		}
		result.Init = &init
		look = func(r io.Reader) (mediafile.SegmentInfo, error) { return mediafile.InspectCMAF(info, r) }
	}
	for ; ; number++ {
		segment, codecs, err := segmentProof(u, filepath.Join(dir, u.Container().SegmentName(number)), look)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return transcode.Result{}, err
		}
		if result.Codecs != "" && result.Codecs != codecs {
			return transcode.Result{}, fmt.Errorf("%s: %s after %s; want one codec for all", segment.Name, codecs, result.Codecs)
		}
		result.Codecs = codecs
		result.Segments = append(result.Segments, segment)
		p.touch(time.Now())
	}
	if err := os.Remove(filepath.Join(dir, indexName)); err != nil {
		return transcode.Result{}, fmt.Errorf("tidying: %w", err)
	}
	return result, durable.SyncDir(dir)
}

// dropAround removes the segments that a run has made before and behind its portion.
func dropAround(u transcode.AudioUnit, dir string) error {
	var around []int
	for n := range min(u.Lead(), u.First) {
		around = append(around, u.First-1-n)
	}
	if u.End > 0 {
		around = append(around, u.End, u.End+1) // a frame may be left for a second one
	}
	for _, number := range around {
		err := os.Remove(filepath.Join(dir, u.Container.SegmentName(number)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("tidying: %w", err)
		}
	}
	return nil
}

// segmentProof looks at one segment, and makes it durable.
func segmentProof(u transcode.Unit, file string, look inspector) (segment transcode.Segment, codecs string, err error) {
	if u.Container() == transcode.ContainerTS {
		if err := padTS(file); err != nil {
			return transcode.Segment{}, "", err
		}
	}
	segment, info, err := inspect(file, look)
	if err != nil {
		return transcode.Segment{}, "", err
	}
	if u.Video == nil {
		segment.Seconds = u.Audio.Rendition.Time(segment.Frames)
		return segment, info.Codecs, nil
	}
	segment.Seconds = u.Video.Grid.Seconds(segment.Frames)
	if !u.Video.Custom {
		segment.KeyBytes, err = keyBytes(file, u.Container())
	}
	return segment, info.Codecs, err
}

// dropBitrate removes from an initialization section what a unit's own bitrate is.
func dropBitrate(file string) error {
	init, err := os.ReadFile(file)
	if err == nil {
		init, err = mediafile.WithoutBitrate(init)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, init, 0o644)
}

// initProof looks at an initialization section.
func initProof(dir string) (transcode.Segment, mediafile.InitInfo, error) {
	var init mediafile.InitInfo
	file, _, err := inspect(filepath.Join(dir, transcode.InitName), func(r io.Reader) (mediafile.SegmentInfo, error) {
		var err error
		init, err = mediafile.InspectInit(r)
		return mediafile.SegmentInfo{}, err
	})
	return file, init, err
}

// An inspector reads a file and tells what is in it.
type inspector func(io.Reader) (mediafile.SegmentInfo, error)

const readBytes = 256 << 10 // a read of the NFS client's size or so

// inspect reads a file once: for its hash, and for what is in it.
func inspect(path string, look inspector) (transcode.Segment, mediafile.SegmentInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return transcode.Segment{}, mediafile.SegmentInfo{}, fmt.Errorf("reading a segment: %w", err)
	}
	defer f.Close()
	hash, size := sha256.New(), &counter{}
	r := bufio.NewReaderSize(io.TeeReader(f, io.MultiWriter(hash, size)), readBytes)
	info, err := look(r)
	if err != nil {
		return transcode.Segment{}, mediafile.SegmentInfo{}, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return transcode.Segment{}, mediafile.SegmentInfo{}, fmt.Errorf("reading a segment: %w", err)
	}
	if err := f.Sync(); err != nil {
		return transcode.Segment{}, mediafile.SegmentInfo{}, fmt.Errorf("syncing a segment: %w", err)
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

// keyBytes returns how many bytes a segment has to the end of its first frame.
func keyBytes(path string, c transcode.Container) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading a segment: %w", err)
	}
	defer f.Close()
	look := mediafile.KeyEndTS
	if c == transcode.ContainerCMAF {
		look = mediafile.KeyEndCMAF
	}
	n, err := look(bufio.NewReaderSize(f, readBytes))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return n, nil
}

// A counter counts the bytes written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// Sizes of a transport stream, in bytes. ffmpeg takes a shorter segment for a program
// stream and refuses it, such as one with a few hundredths of a second of sound.
const (
	tsPacket  = 188
	leastOfTS = 16 * tsPacket
)

// padTS appends null packets (ISO/IEC 13818-1 §2.4.3.3) to a segment that is too short
// to be recognized. A segment that is not there stays so.
func padTS(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("padding a segment: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("padding a segment: %w", err)
	}
	null := bytes.Repeat([]byte{0xff}, tsPacket)
	copy(null, []byte{0x47, 0x1f, 0xff, 0x10})
	for size := info.Size(); size > 0 && size < leastOfTS; size += tsPacket {
		if _, err := f.Write(null); err != nil {
			return fmt.Errorf("padding a segment: %w", err)
		}
	}
	return nil
}
