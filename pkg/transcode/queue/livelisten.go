package queue

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"pibootd/internal/durable"
	"pibootd/pkg/pi"
)

// A live stream that listens gets its source from an encoder, which pibootd's ports receive
// and which Publish lets in by the stream's key. The key belongs to the name, so that an
// encoder is configured once.

// listenSource is shown as the source of such a stream.
const listenSource = "encoder"

// Limits of a stream key that somebody writes into its file: SRT takes passphrases of 10 to
// 79 bytes.
const (
	minKey = 16
	maxKey = 79
)

// An inlet is where the encoder of a live stream comes in.
type inlet struct {
	key string

	mu    sync.Mutex
	from  string // address of the encoder that sends; "": none does
	to    *feed  // to the worker that receives the stream; nil: none does
	ended bool   // the stream is
}

// newInlet returns the inlet of a stream of this name.
func (q *Queue) newInlet(name string) (*inlet, error) {
	if q.liveKeys == "" {
		return nil, pi.InvalidField("listen", errors.New("pibootd has no port for encoders; want live.rtmp_port in the configuration"))
	}
	key, err := readKey(q.keyFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		key, err = q.writeKey(name)
	}
	return &inlet{key: key}, err
}

func (q *Queue) keyFile(name string) string { return filepath.Join(q.liveKeys, name+".key") }

func readKey(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a stream key: %w", err)
	}
	key := strings.TrimSpace(string(data))
	wrong := func(r rune) bool { return !strings.ContainsRune(keyRunes, r) }
	if len(key) < minKey || len(key) > maxKey || strings.ContainsFunc(key, wrong) {
		return "", fmt.Errorf("reading a stream key: %s has %d bytes; want %d to %d letters, digits, - and _: remove it for another key", file, len(key), minKey, maxKey)
	}
	return key, nil
}

const keyRunes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// writeKey gives a name another key.
func (q *Queue) writeKey(name string) (string, error) {
	key := rand.Text()
	if err := os.MkdirAll(q.liveKeys, 0o700); err != nil {
		return "", fmt.Errorf("storing a stream key: %w", err)
	}
	if err := durable.WriteFile(q.keyFile(name), []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("storing a stream key: %w", err)
	}
	return key, nil
}

// LiveKey returns the key by which an encoder may send a live stream that listens; renew
// makes another one first. The error matches ErrNoLive if no stream of this name listens.
func (q *Queue) LiveKey(name string, renew bool) (string, error) {
	s := q.live.named(name)
	if s == nil || s.over() || s.inlet == nil {
		return "", fmt.Errorf("queue: key of live stream %.200q: %w, or it does not listen for an encoder", name, ErrNoLive)
	}
	if !renew {
		return s.inlet.currentKey(), nil
	}
	key, err := q.writeKey(name)
	if err != nil {
		return "", fmt.Errorf("queue: %w", err)
	}
	s.inlet.renew(key)
	return key, nil
}

func (i *inlet) currentKey() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.key
}

// renew replaces the key, and disconnects the encoder that has the old one.
func (i *inlet) renew(key string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.from = key, ""
	i.closeLocked()
}

var (
	errNoKey     = errors.New("no live stream waits for an encoder with this stream key")
	errPublished = errors.New("another encoder sends this stream")
	errEnded     = errors.New("the stream has ended, or another key was made")
)

// Publish lets an encoder in that has the key of a live stream, if no other sends it. The
// error is meant for the encoder, and does not have the key.
func (q *Queue) Publish(key string, from netip.AddrPort) (*Publisher, error) {
	for _, s := range q.live.all() {
		if s.inlet != nil && s.inlet.has(key) {
			p := &Publisher{inlet: s.inlet, from: from.String()}
			return p, s.inlet.enter(p.from)
		}
	}
	return nil, errNoKey
}

func (i *inlet) has(key string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.ended && subtle.ConstantTimeCompare([]byte(i.key), []byte(key)) == 1
}

func (i *inlet) enter(from string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.ended:
		return errEnded
	case i.from != "":
		return errPublished
	}
	i.from = from
	return nil
}

// encoder returns the address of the encoder that sends.
func (i *inlet) encoder() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.from
}

// open has the stream go to another reader.
func (i *inlet) open() tunnelEnd {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closeLocked()
	i.to = newFeed()
	return i.to
}

func (i *inlet) closeLocked() {
	if i.to != nil {
		i.to.end()
		i.to = nil
	}
}

// end disconnects the encoder of a stream that has ended; a nil inlet has none.
func (i *inlet) end() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended, i.from = true, ""
	i.closeLocked()
}

// A Publisher is an encoder that sends a live stream.
type Publisher struct {
	inlet *inlet
	from  string
}

// Writer returns where the stream goes now; nil if no worker receives it. Writing does not
// wait for the worker: see feed. The error says that the encoder may not send it any more.
func (p *Publisher) Writer() (io.Writer, error) {
	i := p.inlet
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.from != p.from {
		return nil, errEnded
	}
	if i.to == nil {
		return nil, nil
	}
	return i.to, nil
}

// Close lets another encoder in. The worker connects again.
func (p *Publisher) Close() error {
	i := p.inlet
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.from == p.from {
		i.from = ""
		i.closeLocked()
	}
	return nil
}
