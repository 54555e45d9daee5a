package rtmp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A stage is a stream that one encoder may send at a time.
type stage struct {
	mu    sync.Mutex
	key   string
	taken bool
	ended chan struct{} // gets a value when an encoder has left
	to    *bytes.Buffer // nil: nobody reads
	next  *bytes.Buffer // that reads from the first write to the other on
}

func (s *stage) publish(key string, _ netip.AddrPort) (Publication, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case key != s.key:
		return nil, errors.New("wrong key")
	case s.taken:
		return nil, errors.New("taken")
	}
	s.taken = true
	return s, nil
}

// Writer returns next when to has had as much as a second reader must not miss.
func (s *stage) Writer() (io.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.to == nil:
		return nil, nil
	case s.next != nil && s.to.Len() > 20_000:
		return s.next, nil
	}
	return s.to, nil
}

func (s *stage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		s.taken = false
		s.ended <- struct{}{}
	}
	return nil
}

// startServer starts a server of a stage. It returns its address, and its log once the
// server has stopped.
func startServer(t *testing.T, s *stage) (addr string, stop func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server := &Server{Publish: s.publish, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	stop = sync.OnceValue(func() string {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		return log.String()
	})
	t.Cleanup(func() { stop() })
	return listener.Addr().String(), stop
}

// send has ffmpeg publish three seconds with sound, and key frames every second.
func send(t *testing.T, url string) (string, error) {
	t.Helper()
	args := "-v error -f lavfi -i testsrc2=s=160x90:r=25:d=3 -f lavfi -i sine=440:r=48000:d=3 -c:v libx264 -preset ultrafast -g 25 -c:a aac -f flv"
	out, err := exec.CommandContext(t.Context(), "ffmpeg", append(strings.Fields(args), url)...).CombinedOutput()
	return string(out), err
}

// frames counts the frames of video that can be decoded, and packets of sound.
func frames(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.flv")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames", "-of", "csv=p=0", file).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v: %s", err, out)
	}
	return string(out)
}

// What a real encoder publishes is whole, byte for byte what it encoded.
func TestPublish(t *testing.T) {
	t.Parallel()
	s := &stage{key: "key", to: &bytes.Buffer{}, ended: make(chan struct{}, 1)}
	addr, stop := startServer(t, s)
	if out, err := send(t, "rtmp://"+addr+"/live/key"); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	<-s.ended
	if got := frames(t, s.to.Bytes()); got != "h264,75\naac,142\n" && got != "h264,75\naac,141\n" {
		t.Errorf("received %s; want 75 frames, and sound", got)
	}
	if log := stop(); strings.Contains(log, "key") {
		t.Errorf("the log has the stream key:\n%s", log)
	}
}

// A reader that comes later gets the stream from a key frame on, with what its decoder needs.
func TestPublishToAnotherReader(t *testing.T) {
	t.Parallel()
	s := &stage{key: "key", to: &bytes.Buffer{}, next: &bytes.Buffer{}, ended: make(chan struct{}, 1)}
	addr, _ := startServer(t, s)
	if out, err := send(t, "rtmp://"+addr+"/live/key"); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	<-s.ended
	if got := frames(t, s.next.Bytes()); !strings.HasPrefix(got, "h264,50\n") && !strings.HasPrefix(got, "h264,25\n") {
		t.Errorf("the second reader has %s; want the frames from a key frame on", got)
	}
}

// A wrong key is refused, and so is a second encoder; neither key is in the log.
func TestPublishRefused(t *testing.T) {
	t.Parallel()
	s := &stage{key: "right-secret", taken: true, ended: make(chan struct{}, 1)}
	addr, stop := startServer(t, s)
	for key, why := range map[string]string{"wrong-secret": "wrong key", "right-secret": "taken"} {
		out, err := send(t, "rtmp://"+addr+"/live/"+key)
		if err == nil || !strings.Contains(out, why) {
			t.Errorf("%s: %v: %s; want it refused, and ffmpeg to say why: %s", key, err, out, why)
		}
	}
	if log := stop(); strings.Contains(log, "secret") || !strings.Contains(log, "encoder refused") {
		t.Errorf("the log is\n%s; want the refusals, without keys", log)
	}
}

// Connections that do not publish end by themselves or with the server, and are bounded.
func TestEncodersAreBounded(t *testing.T) {
	t.Parallel()
	s := &stage{key: "key", ended: make(chan struct{}, 1)}
	addr, stop := startServer(t, s)
	var conns []net.Conn
	for range maxOwnConns + 1 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	if _, err := conns[maxOwnConns].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("reading from one connection too many: %v; want it closed", err)
	}
	stop()
}

// record returns what a client sends behind the handshake that publishes by a key.
func record() []byte {
	command := func(name string, transaction float64, values ...string) []byte {
		b := append(appendNumber(appendString(nil, name), transaction), amfNull)
		for _, v := range values {
			b = appendString(b, v)
		}
		return appendMessage(nil, typeCommand, 0, b)
	}
	b := command("connect", 1)
	b = append(b, command("createStream", 2)...)
	b = append(b, command("publish", 3, "key", "live")...)
	b = append(b, appendMessage(nil, typeData, 1, appendObject(appendString(appendString(nil, "@setDataFrame"), "onMetaData"), "a", "b"))...)
	b = append(b, appendMessage(nil, typeVideo, 1, []byte{0x17, 0, 0, 0, 0, 1})...)
	b = append(b, appendMessage(nil, typeVideo, 1, []byte{0x17, 1, 0, 0, 0, 1, 2, 3})...)
	return append(b, command("deleteStream", 4)...)
}

// What a client sends, whatever it is, ends its connection and nothing else.
func FuzzClient(f *testing.F) {
	f.Add(record())
	f.Add([]byte{0xc3, 0})
	f.Add(append([]byte{2, 0, 0, 0, 0, 0, 4, typeChunkSize, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, record()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &stage{key: "key", to: &bytes.Buffer{}, ended: make(chan struct{}, 1)}
		hello := append([]byte{3}, make([]byte, 2*handshakeBytes)...)
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(append(hello, data...))
			theirs.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		server := &Server{Publish: s.publish, Log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a refusal does not pause
		server.serve(ctx, ours, netip.AddrPort{})
		ours.Close()
	})
}

// A client that sends what record has publishes it.
func TestRecordIsPublished(t *testing.T) {
	t.Parallel()
	s := &stage{key: "key", to: &bytes.Buffer{}, ended: make(chan struct{}, 1)}
	addr, _ := startServer(t, s)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(append(append([]byte{3}, make([]byte, 2*handshakeBytes)...), record()...)); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	want := appendTag(nil, message{kind: typeVideo, body: []byte{0x17, 1, 0, 0, 0, 1, 2, 3}})
	if got := s.to.Bytes(); !bytes.HasPrefix(got, flvHeader) || !bytes.HasSuffix(got, want) || bytes.Contains(got, []byte("setDataFrame")) {
		t.Errorf("received %q; want the metadata and two tags of video", got)
	}
}
