//go:build e2e

package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/daemon"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// The next version, which has one migration more, is installed while a board uses its
// root and encodes, and then this one again. The board's handles stay valid, nothing that
// it has written is lost, and no unit is done twice.
func TestUpgradeAndDowngrade(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	this, installed := l.binary, filepath.Join(t.TempDir(), "pibootd")
	next := buildNext(t)
	install(t, this, installed)
	l.binary = installed
	l.daemon = l.start(t, "keep", "--", "serve", "--interface", "br0", "--state-dir", l.state)
	l.daemon.waitFor(t, "msg=serving")
	makeVideo(t, filepath.Join(l.state, "media", "film.mp4"), "60")
	gate := l.newGate(t)
	l.startWorker(t)
	board := l.useRoot(t)
	submitted, err := l.client.Submit(t.Context(), transcode.Request{Source: "film.mp4", Name: "film", SegmentSeconds: 2}, false)
	if err != nil {
		t.Fatal(err)
	}
	job := submitted.Job
	gate.open(t, 1)
	l.waitForUnits(t, job, 1)

	install(t, next, installed)
	pid := l.nextPID(t, 0)
	l.daemon.signal(t, syscall.SIGHUP)
	l.nextPID(t, pid)
	l.daemon.waitFor(t, fmt.Sprintf("%s.schema-%d.", daemon.Database, store.Schema())) // its log names the copy
	if n := len(l.copies(t)); n != 1 {
		t.Errorf("%d copies of the database; want the one of the migration", n)
	}
	board.waitForWork(t)
	gate.open(t, 2)
	l.waitForUnits(t, job, 3)
	back := []string{"db", "downgrade", "--yes", "--to", fmt.Sprint(store.Schema())}
	_, said, err := l.try(t, back...)
	wantRefused(t, err, said, "is in use by another pibootd")

	if err := l.daemon.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("the next version ends with %v; want nil", err)
	}
	install(t, this, installed)
	_, said, err = l.try(t, "serve", "--interface", "br0")
	wantRefused(t, err, said, fmt.Sprintf("is of a newer pibootd: it has schema %d, and this pibootd knows %d\nhint: install the newer pibootd again", store.Schema()+1, store.Schema()))
	_, said, err = l.try(t, "template", "show", "tiny")
	wantRefused(t, err, said, "is of a newer pibootd")
	install(t, next, installed)
	out, said, err := l.try(t, back...)
	if err != nil {
		t.Fatalf("db downgrade: %v\n%s", err, said)
	}
	wantIn(t, said, "which is deleted: notes of the next version: 1")
	wantIn(t, out, fmt.Sprintf("has schema %d now; as it was, it is in %s", store.Schema(), l.copies(t)[1]))
	install(t, this, installed)
	l.daemon = l.start(t, "keep", "--", "serve", "--interface", "br0", "--state-dir", l.state)
	l.daemon.waitFor(t, "msg=serving")
	board.waitForWork(t)
	gate.open(t, 100)
	job = l.waitFor(t, job)
	board.finish(t)
	l.checkDoneOnce(t, job)
	if got := ffprobe(t, filepath.Join(l.state, "media", job.Output), "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets"); len(got) == 0 || got[0] != "1800" {
		t.Errorf("the stream has %q pictures; want 1800", got)
	}
}

// buildNext builds pibootd with one more migration.
func buildNext(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "next")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "nextschema", "-o", program, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the next version: %v\n%s", err, out)
	}
	return program
}

// install replaces a program while it runs, as packages do.
func install(t *testing.T, program, as string) {
	t.Helper()
	_ = os.Remove(as + ".new")
	if err := errors.Join(os.Link(program, as+".new"), os.Rename(as+".new", as)); err != nil {
		tool(t, "cp", program, as+".new")
		if err := os.Rename(as+".new", as); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *lab) copies(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.state, daemon.Database+".schema-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A gate is where each ffmpeg that encodes some of the film waits, so that the test says how
// much of it is encoded when.
type gate struct{ dir string }

// newGate has all programs that the lab starts from now on use an ffmpeg that waits.
func (l *lab) newGate(t *testing.T) gate {
	t.Helper()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal(err)
	}
	g := gate{t.TempDir()}
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in *-progress*film.mp4*) until rmdir "$(ls -d %s/open-* | head -n 1)"; do sleep 0.1; done 2>/dev/null ;; esac
exec %s "$@"
`, g.dir, ffmpeg)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "ffmpeg"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	l.env = append(l.env, "PATH="+bin+":"+os.Getenv("PATH"))
	return g
}

// open lets some through.
func (g gate) open(t *testing.T, n int) {
	t.Helper()
	for range n {
		if _, err := os.MkdirTemp(g.dir, "open-"); err != nil {
			t.Fatal(err)
		}
	}
}

// isShut reports whether the next one has to wait.
func (g gate) isShut(t *testing.T) bool {
	t.Helper()
	open, err := filepath.Glob(filepath.Join(g.dir, "open-*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(open) == 0
}

// close has the next one wait, however many were let through before.
func (g gate) close(t *testing.T) {
	t.Helper()
	for !g.isShut(t) {
		open, err := filepath.Glob(filepath.Join(g.dir, "open-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range open {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// waitForUnits returns when some units of the job are done by ffmpeg and another is being
// encoded.
func (l *lab) waitForUnits(t *testing.T, job queue.Job, done int) {
	t.Helper()
	waitUntil(t, "no unit of the job is encoded", func() bool {
		now, err := l.client.Job(t.Context(), job.ID)
		states := map[string]int{}
		for _, unit := range now.Units {
			if unit.Kind != transcode.KindProbe {
				states[unit.State]++
			}
		}
		return err == nil && states["done"] >= done && states["running"] > 0
	})
}

// checkDoneOnce looks for units with other than one attempt that was accepted.
func (l *lab) checkDoneOnce(t *testing.T, job queue.Job) {
	t.Helper()
	if err := l.daemon.end(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	db, err := store.Read(t.Context(), filepath.Join(l.state, daemon.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var units int
	var twice sql.NullString
	err = db.QueryRow(t.Context(), `SELECT count(*), (SELECT group_concat(unit || ': ' || n) FROM
		(SELECT u.unit, (SELECT count(*) FROM attempts a WHERE a.job = u.job AND a.unit = u.unit AND a.outcome = 'done') AS n FROM units u WHERE u.job = ?1) WHERE n <> 1)
		FROM units WHERE job = ?1`, job.ID).Scan(&units, &twice)
	if err != nil || units < 5 || twice.Valid {
		t.Errorf("%d units, %v; not done once: %s", units, err, twice.String)
	}
}

// A rootUser is a board that uses its root without a pause, by handles that it got once.
type rootUser struct {
	host *netlab.Namespace
	dir  []byte // handle of the directory in which it works
	stop context.CancelFunc

	ended sync.WaitGroup
	work  caller
}

// useRoot has board 3333347a work in its root until finish.
func (l *lab) useRoot(t *testing.T) *rootUser {
	t.Helper()
	board, err := l.client.Pi(t.Context(), "3333347a")
	if err != nil {
		t.Fatal(err)
	}
	u := &rootUser{host: netlabtest.Host{Port: "board", MAC: board.MAC, Addr: board.IP.String() + "/24"}.Join(t, l.net)}
	err = u.host.Do(func() (err error) {
		defer probe.Recover(&err)
		m, err := nfsclient.DialMount("10.77.0.1")
		if err != nil {
			return err
		}
		defer m.Close()
		target, err := m.Mount("/roots/3333347a", rootAuth())
		if err != nil {
			return err
		}
		defer target.Close()
		u.dir, err = target.Mkdir("work", 0o755)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	u.stop = stop
	u.ended.Go(func() { u.run(ctx) })
	t.Cleanup(func() { stop(); u.ended.Wait() })
	return u
}

func rootAuth() rpc.Auth { return rpc.NewAuthUnix("board", 0, 0).Auth() }

// run works, and connects again when the connection is lost, as a hard mount does.
func (u *rootUser) run(ctx context.Context) {
	defer u.work.ended.Store(true)
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil && u.work.err == nil {
		err := u.host.Do(func() error { return u.session(ctx, pace.C) })
		if err != nil && (strings.Contains(err.Error(), "STALE") || strings.Contains(err.Error(), "BADHANDLE") || errors.Is(err, errWrongBytes)) {
			u.work.err = err
		}
		<-pace.C
	}
}

var errWrongBytes = errors.New("what was written is not there")

// session writes files and reads them, by the handle of their directory, until the
// connection is lost.
func (u *rootUser) session(ctx context.Context, pace <-chan time.Time) (err error) {
	defer probe.Recover(&err)
	target, err := nfsclient.NewTarget("10.77.0.1", rootAuth(), u.dir, "/work")
	if err != nil {
		return err
	}
	defer target.Close()
	target.SetTimeout(answerTime)
	for ctx.Err() == nil {
		n := u.work.answered.Load()
		if err := write(target, n); err != nil {
			return err
		}
		for _, i := range []int64{0, n / 2, n} {
			if err := read(target, i); err != nil {
				return err
			}
		}
		u.work.answered.Add(1)
		<-pace
	}
	return nil
}

func rootFile(n int64) (name string, content []byte) {
	name = fmt.Sprintf("file %d", n)
	return name, bytes.Repeat([]byte(name+"\n"), 500)
}

func write(target *nfsclient.Target, n int64) error {
	name, content := rootFile(n)
	file, err := target.OpenFile(name, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Close()
}

func read(target *nfsclient.Target, n int64) error {
	name, want := rootFile(n)
	file, err := target.Open(name)
	if err != nil {
		if os.IsNotExist(err) {
			err = fmt.Errorf("%w: %s: %w", errWrongBytes, name, err)
		}
		return err
	}
	got := make([]byte, 2*len(want))
	size, err := file.Read(got)
	if size > 0 && !bytes.Equal(got[:size], want) {
		return fmt.Errorf("%w: %s has %d other bytes", errWrongBytes, name, size)
	}
	if size == 0 {
		return err
	}
	return nil
}

// waitForWork returns when the board has done more.
func (u *rootUser) waitForWork(t *testing.T) {
	t.Helper()
	waitForAnswers(t, []*caller{&u.work})
}

// finish ends the work, of which all has to be there.
func (u *rootUser) finish(t *testing.T) {
	t.Helper()
	u.stop()
	u.ended.Wait()
	n := u.work.answered.Load()
	t.Logf("the board has written and read %d files", n)
	if u.work.err != nil {
		t.Errorf("after %d files: %v", n, u.work.err)
	}
	err := u.host.Do(func() (err error) {
		defer probe.Recover(&err)
		target, err := nfsclient.NewTarget("10.77.0.1", rootAuth(), u.dir, "/work")
		if err != nil {
			return err
		}
		defer target.Close()
		for i := range n {
			err = errors.Join(err, read(target, i))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
