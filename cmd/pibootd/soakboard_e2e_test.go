//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"

	"pibootd/internal/pause"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/pi"
	"pibootd/pkg/transcode/worker"
	"pibootd/pkg/virtualpi"
)

// A soakBoard is a board that is switched on and loses its power, again and again.
type soakBoard struct {
	*soak
	dice
	pi   virtualpi.Board
	addr netip.Prefix

	written, tried int // the last number in its root that it knows to be there, and one that may be
}

func (s *soak) newBoard(i int) *soakBoard {
	b := &soakBoard{soak: s, dice: s.dice(boardRole + uint64(i)), addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(10 + i)}), 24)}
	b.pi = virtualpi.Board{Model: virtualpi.Pi3B, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0x40, 0, byte(i)}, Serial: pi.Serial(0x40000000 + i)}
	return b
}

// live switches the board on and off until busy ends. Then it is on until alive ends: a worker that
// claims again gives up what it had when its board died.
func (b *soakBoard) live(busy, alive context.Context) {
	for alive.Err() == nil {
		b.between(busy, 0, 2*b.pace)
		if b.boot(busy, alive) {
			b.run(busy, alive, b.pick(b.pace, 8*b.pace))
		}
	}
}

// boot does what boot code does. One boot in five loses its power.
func (b *soakBoard) boot(busy, alive context.Context) bool {
	select {
	case b.booting <- struct{}{}:
	case <-alive.Done():
		return false
	}
	defer func() { <-b.booting }()
	on, off := context.WithCancel(alive)
	defer off()
	if cut, after := b.IntN(5) == 0, b.pick(0, 5*time.Second); cut && busy.Err() == nil {
		defer time.AfterFunc(after, off).Stop()
	}
	began := time.Now()
	_, err := b.pi.PowerOn(on, virtualpi.Socket{Namespace: b.net, Bridge: netlabtest.Bridge})
	switch {
	case on.Err() != nil:
		b.count("boots cut off")
	case err == nil:
		b.count("boots")
		return true
	case b.explains(began):
		b.count("boots failed while the daemon was away")
	default:
		b.note("boot of %s: %v", b.pi.Serial, err)
	}
	return false
}

// run has the system run for some time. Then its cable is pulled before anything is closed, so that
// nobody learns of its end.
func (b *soakBoard) run(busy, alive context.Context, life time.Duration) {
	host, port, err := b.plugIn()
	if err != nil {
		b.note("plugging in: %v", err)
		return
	}
	on, off := context.WithCancel(alive)
	var running sync.WaitGroup
	running.Go(func() { b.system(on, host) })
	if !pause.For(busy, life) {
		<-alive.Done()
	}
	if err := b.net.Delete(port); err != nil {
		b.note("unplugging: %v", err)
	}
	off()
	running.Wait()
	if err := host.Close(); err != nil {
		b.note("unplugging: %v", err)
	}
	b.count("boards that lost their power")
}

func (b *soakBoard) plugIn() (host *netlab.Namespace, port string, err error) {
	if host, err = netlab.New(); err != nil {
		return nil, "", err
	}
	port = fmt.Sprintf("soak%x", uint32(b.pi.Serial))
	err = netlab.Connect(netlab.End{Namespace: host, Name: "eth0", MAC: b.pi.MAC, Addr: b.addr}, netlab.End{Namespace: b.net, Name: port})
	if err == nil {
		err = b.net.Attach(port, netlabtest.Bridge)
	}
	if err != nil {
		return nil, "", errors.Join(err, host.Close())
	}
	return host, port, nil
}

// system mounts the root, reads in it who the board is, and works.
func (b *soakBoard) system(ctx context.Context, host *netlab.Namespace) {
	root := &mounted{host: host, path: "/roots/" + b.pi.Serial.String()}
	defer root.close()
	var config worker.Config
	err := root.do(ctx, func(target *nfsclient.Target) error {
		file, err := target.Open("etc/pibootd/worker.json")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(file, 64<<10))
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &config)
	})
	if err != nil {
		if ctx.Err() == nil {
			b.note("root of %s: %v", b.pi.Serial, err)
		}
		return
	}
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { b.work(ctx, host, config) })
	for ctx.Err() == nil {
		b.useRoot(ctx, root)
		b.between(ctx, b.pace/10, b.pace/2)
	}
}

// useRoot reads the number that the board has written last, and writes the next.
func (b *soakBoard) useRoot(ctx context.Context, root *mounted) {
	const name, form = "number", "%012d\n"
	err := root.do(ctx, func(target *nfsclient.Target) error {
		if b.written+b.tried > 0 {
			file, err := target.Open(name)
			if err != nil {
				return err
			}
			text, err := io.ReadAll(io.LimitReader(file, 64))
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if len(text) == 0 && b.written == 0 {
				err = nil // it was made, and then there was no room
			}
			if err != nil || n != b.written && n != b.tried {
				b.note("%s reads %q in its root; want %d or %d", b.pi.Serial, text, b.written, b.tried)
			}
			b.written = n
		}
		file, err := target.OpenFile(name, 0o600)
		if err != nil {
			return err
		}
		b.tried = b.written + 1
		if _, err := fmt.Fprintf(file, form, b.tried); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		b.written = b.tried
		b.count("numbers written into roots")
		return nil
	})
	if err != nil && ctx.Err() == nil && !isFull(err) {
		b.note("root of %s: %v", b.pi.Serial, err)
	}
}

// A mounted is an export as a board has it mounted, hard: by a handle that it got once, over as many
// connections as that takes.
type mounted struct {
	host *netlab.Namespace
	path string
	connection
}

type connection struct {
	handle []byte            // of the export; nil: it is not mounted yet
	target *nfsclient.Target // nil: there is none
}

// do does something with the export, again and again while the connection is lost. An error of the
// file system is returned.
func (m *mounted) do(ctx context.Context, f func(*nfsclient.Target) error) error {
	for {
		err := m.connect(ctx)
		if err == nil {
			err = call(ctx, m.target, f)
		}
		if err == nil || isOfFile(err) {
			return err
		}
		m.close()
		if !pause.For(ctx, 200*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// call calls f, whose calls end with ctx.
func call(ctx context.Context, target *nfsclient.Target, f func(*nfsclient.Target) error) (err error) {
	defer probe.Recover(&err)
	defer context.AfterFunc(ctx, func() { _ = target.Close() })()
	return f(target)
}

// connect connects, unless there is a connection. One that a board without power waits for is left to
// itself: the client knows no end of waiting for a portmapper.
func (m *mounted) connect(ctx context.Context) error {
	if m.target != nil {
		return nil
	}
	type result struct {
		connection
		err error
	}
	connected := make(chan result, 1)
	handle := m.handle
	go func() {
		var r result
		r.err = m.host.Do(func() (err error) {
			r.connection, err = dial(m.path, handle)
			return err
		})
		connected <- r
	}()
	select {
	case r := <-connected:
		if r.err == nil {
			m.connection = r.connection
		}
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial mounts an export, or connects to one of which there is a handle.
func dial(export string, handle []byte) (c connection, err error) {
	defer probe.Recover(&err)
	if c.handle = handle; handle != nil {
		if c.target, err = nfsclient.NewTarget("10.77.0.1", rootAuth(), handle, "/"); err == nil {
			c.target.SetTimeout(answerTime)
		}
		return c, err
	}
	client, err := nfsclient.DialMount("10.77.0.1")
	if err != nil {
		return c, err
	}
	defer client.Close()
	client.SetTimeout(answerTime)
	if c.target, err = client.Mount(export, rootAuth()); err != nil {
		return c, fmt.Errorf("mount: %v", err) // without its cause, because it is tried again
	}
	c.target.SetTimeout(answerTime)
	_, c.handle, err = c.target.Lookup(".")
	return c, err
}

func (m *mounted) close() {
	if m.target != nil {
		_ = m.target.Close()
		m.target = nil
	}
}

// write makes a file with this content.
func (m *mounted) write(ctx context.Context, name string, content []byte) error {
	return m.do(ctx, func(target *nfsclient.Target) error {
		file, err := target.OpenFile(name, 0o644)
		if err != nil {
			return err
		}
		if _, err := file.Write(content); err != nil {
			return err
		}
		return file.Close()
	})
}

// mkdir makes a directory and those above it.
func (m *mounted) mkdir(ctx context.Context, name string) error {
	if above := path.Dir(name); above != "." {
		if err := m.mkdir(ctx, above); err != nil {
			return err
		}
	}
	return m.do(ctx, func(target *nfsclient.Target) error {
		if _, err := target.Mkdir(name, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
		return nil
	})
}

// isOfFile reports whether an error is the server's answer. One that the library does not know asks
// to try again later (NFS3ERR_JUKEBOX).
func isOfFile(err error) bool {
	var answer *nfsclient.Error
	return errors.As(err, &answer) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist) || errors.Is(err, os.ErrPermission)
}

// isFull reports whether there was no room.
func isFull(err error) bool {
	var answer *nfsclient.Error
	return errors.As(err, &answer) && (answer.ErrorNum == nfsclient.NFS3ErrNoSpc || answer.ErrorNum == nfsclient.NFS3ErrDQuot)
}

// Dial connects from the board, to be a nats.CustomDialer.
func (m *mounted) Dial(network, addr string) (conn net.Conn, err error) {
	err = m.host.Do(func() error {
		conn, err = net.DialTimeout(network, addr, answerTime)
		return err
	})
	return conn, err
}
