package queue

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// units does all units of a job that the fixture has results for.
func (b *bench) units(job Job) {
	b.t.Helper()
	for _, unit := range append([]transcode.Unit{{ID: "probe"}}, theFixture(b.t).plan.Units...) {
		b.encode(transcode.Work{Job: job.ID, Unit: unit.ID})
	}
}

// Encryption may be stopped anywhere too. Whatever the number of attempts, every
// segment is encrypted with the one key that is published.
func TestPublishingEncrypted(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	request := fixtureRequest
	request.Encrypted = true
	for stopped, whole := 0, false; !whole; stopped++ {
		job, _, err := b.SubmitAgain(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		b.units(job)
		err = b.publishJob(newCountdown(t.Context(), stopped), job.ID)
		if whole = err == nil; !whole {
			if info, err := os.Stat(b.media(transcode.JobDir(job.ID) + "/publish/stream.key")); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("stopped at step %d: the key is %v; want it secret until it is published", stopped, info.Mode())
			}
			err = b.publishJob(t.Context(), job.ID)
		}
		if err != nil {
			t.Fatalf("stopped at step %d, then resumed: %v", stopped, err)
		}
		b.checkEncrypted("hls/clip", "stream.key", 0o644)
		if whole {
			checkModes(t, b.media("hls"))
			if got := countFrames(t, filepath.Join(b.media("hls/clip"), transcode.MasterName)); !slices.Equal(got, []string{"90", "90"}) {
				t.Errorf("ffprobe counts %q frames in the variants; want 90 in each", got)
			}
		}
		if err := os.RemoveAll(b.media("hls")); err != nil {
			t.Fatal(err)
		}
	}
}

// A key that players get from elsewhere is not for everybody.
func TestPublishingKeyElsewhere(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	request := fixtureRequest
	request.Encrypted, request.KeyURI = true, "https://keys.example/1"
	if os.Geteuid() == 0 { // only root can give files away
		if err := os.Chown(b.media(""), 1234, 5678); err != nil {
			t.Fatal(err)
		}
	}
	job := b.submit(request)
	b.units(job)
	if err := b.publishJob(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	b.checkEncrypted("hls/clip", ".stream.key", 0o600)
	if info, err := os.Stat(b.media("hls/clip/.stream.key")); err != nil || owner(info).uid != os.Geteuid() {
		t.Errorf("the key belongs to %v, %v; want it the daemon's, not the share's", owner(info), err)
	}
	text, err := os.ReadFile(b.media("hls/clip/audio/index.m3u8"))
	if want := `#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example/1"`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("the playlist is %q, %v; want %s in it", text, err, want)
	}
}

// checkEncrypted decrypts every segment of a stream of the fixture.
func (b *bench) checkEncrypted(output, keyName string, mode os.FileMode) {
	b.t.Helper()
	key, err := os.ReadFile(b.media(output + "/" + keyName))
	if err != nil {
		b.t.Fatal(err)
	}
	if info, err := os.Stat(b.media(output + "/" + keyName)); err != nil || info.Mode().Perm() != mode {
		b.t.Errorf("key: %v, %v; want mode %v", info, err, mode)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		b.t.Fatal(err)
	}
	f := theFixture(b.t)
	for _, u := range f.plan.Units {
		for number := range len(f.files[u.ID]) {
			name := u.Container().SegmentName(number)
			data, err := os.ReadFile(b.media(output + "/" + u.Dir() + "/" + name))
			if err != nil {
				b.t.Error(err)
				continue
			}
			iv := make([]byte, aes.BlockSize)
			binary.BigEndian.PutUint64(iv[8:], uint64(number))
			cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
			if plain := data[:len(data)-int(data[len(data)-1])]; string(plain) != string(f.files[u.ID][name]) {
				b.t.Errorf("%s/%s does not decrypt to what was encoded", u.Dir(), name)
			}
		}
	}
}

// A file is joined by a worker when all of its units are done, and published
// like a stream: whole, beside older ones of its name.
func TestPublishingFile(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	request := fixtureRequest
	request.Format = transcode.FormatMP4
	for stopped, whole := 0, false; !whole; stopped++ {
		job, _, err := b.SubmitAgain(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		b.encode(transcode.Work{Job: job.ID, Unit: "probe"})
		b.pretend(job.ID, "audio")
		b.pretend(job.ID, "v-128p-0000")
		join := b.pretend(job.ID, "join")
		if len(join.Join.Video) != 1 || len(join.Join.Audio) != 1 || join.Join.Video[0] != (transcode.Part{Dir: transcode.AttemptDir(job.ID, "v-128p-0000", 1), End: 3}) {
			t.Errorf("join = %+v; want the one unit of video and that of audio", join.Join)
		}
		err = b.publishJob(newCountdown(t.Context(), stopped), job.ID)
		if whole = err == nil; !whole {
			err = b.publishJob(t.Context(), job.ID)
		}
		if err != nil {
			t.Fatalf("stopped at step %d, then resumed: %v", stopped, err)
		}
		want := "mp4/clip.mp4"
		if stopped > 0 {
			want = fmt.Sprintf("mp4/clip-%d.mp4", stopped+1)
		}
		got, err := b.Job(t.Context(), job.ID)
		if err != nil || got.State != Done || got.Output != want {
			t.Errorf("job = %+v, %v; want it done at %s", got, err, want)
		}
		if data, err := os.ReadFile(b.media(want)); err != nil || string(data) != "content of out.mp4" {
			t.Errorf("%s: %q, %v", want, data, err)
		}
		b.checkSwept(job.ID)
	}
	checkModes(t, b.media("mp4"))
}

// A video that cannot be cut is one unit, and the job says so. The rest is made as of others.
func TestPublishingWhole(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	request := fixtureRequest
	request.Format, request.Options = transcode.FormatMKV, []string{"-vf", "minterpolate"}
	job := b.submit(request)
	b.encode(transcode.Work{Job: job.ID, Unit: "probe"})
	got, err := b.Job(t.Context(), job.ID)
	if want := "one worker does the whole video: filter minterpolate looks at more than one frame"; err != nil || got.Note != want || got.TotalFrames != sourceSeconds*sourceRate {
		t.Errorf("job = %+v, %v; want it noted: %s", got, err, want)
	}
	b.pretend(job.ID, "audio")
	b.pretend(job.ID, "v-128p-0000")
	if join := b.pretend(job.ID, "join"); !join.Join.Free || join.Join.Video[0].Container != transcode.ContainerNUT {
		t.Errorf("join = %+v; want one file of video, of any length", join.Join)
	}
	if err := b.publishJob(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(b.media("mkv/clip.mkv")); err != nil || string(data) != "content of out.mkv" {
		t.Errorf("mkv/clip.mkv: %q, %v", data, err)
	}
}

// pretend does a unit with files whose content nobody looks into.
func (b *bench) pretend(job int64, unit string) transcode.Unit {
	b.t.Helper()
	reply, err := b.claim(b.t.Context(), "pi1", "")
	if err != nil || reply.Job != job || reply.Unit.ID != unit {
		b.t.Fatalf("claim of %s: %+v, %v", unit, reply, err)
	}
	dir := scratchDir(b.media(""), "pi1", job, unit, reply.Attempt)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	result := pretended(reply.Unit)
	for _, f := range result.Files() {
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte("content of "+f.Name), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	verdict, err := b.accept(b.t.Context(), "pi1", transcode.Done{Job: job, Unit: unit, Attempt: reply.Attempt, Result: result})
	if err != nil || !verdict.Accepted {
		b.t.Fatalf("result of %s: %+v, %v", unit, verdict, err)
	}
	return reply.Unit
}

// pretended returns the result that a unit of the fixture's file asks for.
func pretended(u transcode.Unit) transcode.Result {
	describe := func(name string) transcode.Segment {
		content := "content of " + name
		sum := sha256.Sum256([]byte(content))
		return transcode.Segment{Name: name, SizeBytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	}
	if u.Join != nil || u.Whole != nil {
		format := transcode.FormatMKV
		if u.Join != nil {
			format = u.Join.Format
		}
		file := describe(format.OutputName())
		return transcode.Result{File: &transcode.File{
			Name: file.Name, SizeBytes: file.SizeBytes, SHA256: file.SHA256,
			Video: transcode.Track{Codec: "h264", Frames: sourceSeconds * sourceRate, EndSeconds: sourceSeconds, MaxGapSeconds: 1. / sourceRate},
			Audio: &transcode.Track{Codec: "aac", Frames: 141, EndSeconds: sourceSeconds},
		}}
	}
	if u.Container() == transcode.ContainerNUT {
		s := describe(transcode.ContainerNUT.SegmentName(0))
		s.Frames, s.Seconds = sourceSeconds*sourceRate, sourceSeconds
		return transcode.Result{Segments: []transcode.Segment{s}}
	}
	init := describe(transcode.InitName)
	r := transcode.Result{Codecs: "avc1.4d400d", Init: &init}
	pts := int64(transcode.StartPTS)
	for i := range sourceSeconds {
		s := describe(u.Container().SegmentName(i))
		s.Frames, s.Key = sourceRate, true
		step := int64(90000 / sourceRate)
		if u.Audio != nil {
			r.Codecs, s.Frames, step = transcode.AudioCodecs, 47, 1920
			s.Seconds = transcode.AudioSeconds(s.Frames)
		} else {
			s.Seconds = 1
		}
		s.FirstPTS, s.LastPTS = pts, pts+int64(s.Frames-1)*step
		pts += int64(s.Frames) * step
		r.Segments = append(r.Segments, s)
	}
	return r
}
