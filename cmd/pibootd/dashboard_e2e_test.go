//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/virtualpi"
	"pibootd/pkg/web"
)

// People use the dashboard as pkg/web/ui/tests has it: Playwright in Debian's Chromium,
// before a daemon with virtual boards whose workers are real. What people do with boards and
// with videos happens on a stage each, at the same time.
func TestDashboard(t *testing.T) {
	playwright, err := filepath.Abs(dashboard + "/node_modules/.bin/playwright")
	if err == nil {
		_, err = os.Stat(playwright)
	}
	if err != nil {
		t.Fatalf("no Playwright, run scripts/install-tools ui first: %v", err)
	}
	t.Run("boards", func(t *testing.T) {
		t.Parallel()
		newStage(t).play(t, playwright, "boards")
	})
	t.Run("videos", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		film := filepath.Join(s.dir, "a film.mp4")
		makeTracks(t, film, filepath.Join(s.dir, "sound.mp3"), "24")
		pad(t, film, 16<<20)
		s.gate = openLink(t, s.net, "10.77.0.1:8080")
		s.tell("FILM", film)
		s.tell("GATE", s.gate.url)
		s.play(t, playwright, "videos")
		if err := s.board(1).mountRoot(); err != nil { // the daemon was restarted meanwhile
			t.Error(err)
		}
		s.wantMonitored(t)
	})
}

const dashboard = "../../pkg/web/ui"

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{lab: newLab(t), t: t, dir: t.TempDir(), work: make(chan func()), boards: map[int]*actor{}}
	config := filepath.Join(s.dir, "pibootd.toml")
	putText(t, config, "[http]\ninsecure_login = true\n")
	s.options = []string{"--config", config}
	s.serve(t, s.options...)
	s.clip = filepath.Join(s.dir, "clip.mp4")
	makeVideo(t, s.clip, "3")
	return s
}

// tell has the flows know something.
func (s *stage) tell(name, value string) { s.env = append(s.env, "PIBOOTD_TEST_"+name+"="+value) }

// play plays the flows of a stage.
func (s *stage) play(t *testing.T, playwright, name string) {
	t.Helper()
	s.tell("STAGE", name)
	s.tell("DIR", s.dir)
	s.tell("URL", "http://10.77.0.1:8080/")
	s.tell("LAB", s.servePage(t, s.handler()))
	args := []string{"test", "--config", dashboard + "/tests", "--pass-with-no-tests"}
	if only := os.Getenv("PIBOOTD_FLOW"); only != "" {
		args = append(args, "--grep", only)
	}
	// The browser is on a machine of its own, because it drops connections whenever an
	// interface comes or goes, as those of boards do.
	laptop := netlabtest.Host{Port: "laptop", Addr: "10.77.0.200/24"}.Join(t, s.net)
	s.run(t, s.startIn(t, laptop, playwright, args...))
}

// pad makes a file that large by a box that players skip (ISO/IEC 14496-12 §8.1.2).
func pad(t *testing.T, file string, size uint32) {
	t.Helper()
	whole, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	box := append([]byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, "free"...)
	_, err = whole.Write(append(box, make([]byte, int(size)-len(box))...))
	if err := errors.Join(err, whole.Close()); err != nil {
		t.Fatal(err)
	}
}

// A stage is where the flows happen: a lab, and what a flow has done off the page.
type stage struct {
	*lab
	t      *testing.T
	dir    string      // of the flows
	work   chan func() // for the test's own goroutine, which alone may end the test
	gate   *link
	clip   string // a short video
	boards map[int]*actor

	options []string // of the daemon
}

// An actor is a board of the stage.
type actor struct {
	*virtualpi.Board
	number int
	off    func()            // has switched it off when it returns
	system *netlab.Namespace // once it has a kernel
}

// run does what is asked for until the browser has ended.
func (s *stage) run(t *testing.T, browser *process) {
	for {
		select {
		case do := <-s.work:
			do()
		case <-browser.ended:
			if browser.err != nil {
				t.Fatalf("the flows fail: %v\n%s", browser.err, browser.text())
			}
			t.Log(browser.text())
			return
		}
	}
}

// handler answers the requests of the flows.
func (s *stage) handler() http.Handler {
	mux := http.NewServeMux()
	for name, do := range map[string]func(r *http.Request) string{
		"link":    func(*http.Request) string { return decode[web.SetupLink](s.t, s.lab, "admin-link").URL },
		"pibootd": func(r *http.Request) string { return s.pibootd(s.t, r.URL.Query()["arg"]...) },
		"template": func(*http.Request) string {
			s.importTiny(s.t, "start4.elf", "fixup4.dat", "kernel8.img", "bcm2711-rpi-4-b.dtb")
			return ""
		},
		"power-on":  s.powerOn,
		"power-off": func(r *http.Request) string { s.board(numberOf(r, "board")).off(); return "" },
		"damage":    s.damage,
		"put":       s.put,
		"hold":      func(r *http.Request) string { s.gate.set(numberOf(r, "bytes"), false); return "" },
		"cut":       func(*http.Request) string { s.gate.set(0, true); return "" },
		"release":   func(*http.Request) string { s.gate.set(0, false); return "" },
		"kill":      func(*http.Request) string { _ = s.daemon.end(s.t, syscall.SIGKILL); return "" },
		"restart":   func(*http.Request) string { s.serve(s.t, s.options...); return "" },
	} {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			answer := make(chan string)
			s.work <- func() { answer <- do(r) }
			fmt.Fprint(w, <-answer)
		})
	}
	return mux
}

func numberOf(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.FormValue(name)) // 0 is no board's
	return n
}

func (s *stage) board(n int) *actor {
	if s.boards[n] == nil {
		board := &virtualpi.Board{Model: virtualpi.Pi4B, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, byte(n)}, Serial: pi.Serial(0x20000000 + n)}
		// It asks as long as it takes to be added, and often, so that nobody waits for it.
		board.Timing = virtualpi.Timing{DHCPRetry: 500 * time.Millisecond, DHCPTimeout: labTimeout, FileTimeout: labTimeout}
		s.boards[n] = &actor{Board: board, number: n}
	}
	return s.boards[n]
}

// powerOn switches a board on. Its worker starts as soon as it has its kernel and has
// mounted its root; with "from", its system has another address.
func (s *stage) powerOn(r *http.Request) string {
	a := s.board(numberOf(r, "board"))
	from, _ := netip.ParseAddr(r.FormValue("from"))
	ctx, cancel := context.WithCancel(s.t.Context())
	over := make(chan struct{})
	a.off = func() { cancel(); <-over }
	s.t.Cleanup(a.off)
	go func() {
		defer close(over)
		boot, err := a.PowerOn(ctx, virtualpi.Socket{Namespace: s.net, Bridge: netlabtest.Bridge})
		switch {
		case errors.Is(err, fs.ErrNotExist), ctx.Err() != nil:
			return // what it lacks is on the page
		case err != nil:
			s.t.Error(err)
			return
		}
		select {
		case s.work <- func() { s.startSystem(a, boot.Addr, from) }:
		case <-ctx.Done():
		}
	}()
	return ""
}

// startSystem is a board's system from its kernel on.
func (s *stage) startSystem(a *actor, addr netip.Prefix, from netip.Addr) {
	if from.IsValid() {
		addr = netip.PrefixFrom(from, addr.Bits())
	}
	a.system = netlabtest.Host{Port: fmt.Sprintf("board%d", a.number), MAC: a.MAC, Addr: addr.String()}.Join(s.t, s.net)
	if err := a.mountRoot(); err != nil {
		if !from.IsValid() {
			s.t.Fatal(err)
		}
		return // it was refused, which is on the page
	}
	s.workAs(s.t, a.system, a.Serial)
}

// mountRoot mounts a board's root, and looks for what is not there.
func (a *actor) mountRoot() error {
	return a.system.Do(func() error {
		mount, err := nfsclient.DialMount("10.77.0.1")
		if err != nil {
			return err
		}
		defer mount.Close()
		target, err := mount.Mount("/roots/"+a.Serial.String(), rpc.NewAuthUnix("board", 0, 0).Auth())
		if err == nil {
			_, _, _ = target.Lookup("/nothing")
			target.Close()
		}
		return err
	})
}

// damage removes a file of a board's root.
func (s *stage) damage(r *http.Request) string {
	if err := os.Remove(filepath.Join(s.state, "roots", s.board(numberOf(r, "board")).Serial.String(), r.FormValue("file"))); err != nil {
		s.t.Fatal(err)
	}
	return ""
}

// put writes a file of the media share: a text, or without one the clip.
func (s *stage) put(r *http.Request) string {
	content := []byte(r.FormValue("text"))
	if !r.Form.Has("text") {
		var err error
		if content, err = os.ReadFile(s.clip); err != nil {
			s.t.Fatal(err)
		}
	}
	putText(s.t, filepath.Join(s.state, "media", r.FormValue("name")), string(content))
	return ""
}
