//go:build netns

package operation

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/roottest"
)

const workOn = "PIBOOTD_TEST_OPERATION"

// TestMain is also the process that works on an operation.
func TestMain(m *testing.M) {
	dir := os.Getenv(workOn)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := Work(context.Background(), dir); err != nil {
		os.Exit(1)
	}
}

// A bench is a state directory with a media share, and a Keeper that is a daemon's.
type bench struct {
	*testing.T
	dir    string
	keeper *Keeper
	stop   context.CancelFunc

	mu        sync.Mutex
	processes []*exec.Cmd
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir()}
	tree := filepath.Join(b.dir, "tree")
	roottest.Small().Make(t, tree)
	if err := os.Mkdir(filepath.Join(b.dir, "media"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", tree, "-czf", b.media("small.tar.gz"), ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return b
}

func (b *bench) media(name string) string { return filepath.Join(b.dir, "media", name) }

// start starts a daemon's Keeper, which launches processes of this test.
func (b *bench) start() {
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	keeper := New(filepath.Join(b.dir, "operations"), b.launch, slog.New(slog.DiscardHandler))
	b.keeper = keeper
	ran := make(chan error, 1)
	go func() { ran <- keeper.Run(ctx) }()
	b.stop = sync.OnceFunc(func() { stop(); <-ran })
	b.Cleanup(b.stop)
}

func (b *bench) launch(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workOn+"="+dir)
	b.mu.Lock()
	err := cmd.Start()
	b.processes = append(b.processes, cmd)
	b.mu.Unlock()
	return errors.Join(err, cmd.Wait())
}

func (b *bench) order(name, source string) Order {
	return Order{Name: name, Recipe: Import, Source: source, AllowMismatch: true, StateDir: b.dir, MediaDir: filepath.Join(b.dir, "media"), MinFree: 1}
}

func (b *bench) begin(o Order) Operation {
	b.Helper()
	op, err := b.keeper.Begin(o)
	if err != nil {
		b.Fatal(err)
	}
	return op
}

// await waits until an operation has one of these states.
func (b *bench) await(id int64, states ...State) Operation {
	b.Helper()
	for {
		op, err := b.keeper.Find(id)
		if err != nil {
			b.Fatal(err)
		}
		for _, state := range states {
			if op.State == state {
				return op
			}
		}
		if op.State.Ended() || !pause.For(b.Context(), 20*time.Millisecond) {
			b.Fatalf("operation %d = %+v; want it %v", id, op, states)
		}
	}
}

// block keeps operations waiting until the returned function is called.
func (b *bench) block() (release func()) {
	b.Helper()
	if err := os.MkdirAll(b.keeper.Dir, 0o700); err != nil {
		b.Fatal(err)
	}
	turn, err := lock(b.keeper.Dir, unix.LOCK_EX)
	if err != nil {
		b.Fatal(err)
	}
	return func() { turn.Close() }
}

func (b *bench) wantTemplates(want ...string) {
	b.Helper()
	templates := rootfs.Templates{Dir: filepath.Join(b.dir, "templates")}
	all, err := templates.List()
	var got []string
	for _, t := range all {
		got = append(got, t.String())
	}
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		b.Errorf("templates = %q, %v; want %q", got, err, want)
	}
}

// A file of the media share, and one that was uploaded, become templates. An upload is removed
// then, with its description.
func TestImport(t *testing.T) {
	b := newBench(t)
	b.start()
	op := b.await(b.begin(b.order("small", "small.tar.gz")).ID, Done)
	if op.Template != "small@1" || op.Ended.IsZero() {
		t.Errorf("operation = %+v; want small@1, ended", op)
	}
	upload := b.order("small", "my image.tar.gz")
	upload.MediaDir, upload.Upload = "", filepath.Join(b.dir, "ABC.part")
	for _, name := range []string{upload.Upload, filepath.Join(b.dir, "ABC.json")} {
		if err := os.Link(b.media("small.tar.gz"), name); err != nil {
			t.Fatal(err)
		}
	}
	if op = b.await(b.begin(upload).ID, Done); op.Template != "small@2" || op.Source != "my image.tar.gz" {
		t.Errorf("operation = %+v; want small@2", op)
	}
	if left, err := filepath.Glob(filepath.Join(b.dir, "ABC.*")); err != nil || len(left) > 0 {
		t.Errorf("%q stay of the upload", left)
	}
	b.wantTemplates("small@1", "small@2")
}

// The root of a board becomes a template that has what was set up on the board, and not
// what makes it that board.
func TestFromPi(t *testing.T) {
	b := newBench(t)
	b.start()
	b.await(b.begin(b.order("small", "small.tar.gz")).ID, Done)
	root := filepath.Join(b.dir, "roots", pi.Serial(0x33333400).String())
	roottest.Small().Make(t, root)
	roottest.Spec{"etc/muxer.conf": "set up by hand", "etc/hostname": "hlspi1\n", "etc/pibootd/worker.json": "{}"}.Make(t, root)
	o := b.order("mine", "hlspi1")
	o.Recipe, o.Board, o.KeepPassword = FromPi, 0x33333400, true
	op := b.await(b.begin(o).ID, Done)
	if op.Template != "mine@1" || op.Source != "hlspi1" || len(op.Changes) == 0 {
		t.Errorf("operation = %+v; want mine@1 of hlspi1, with what was removed", op)
	}
	made := filepath.Join(b.dir, "templates", "mine", "1", "root")
	if text, err := os.ReadFile(filepath.Join(made, "etc/muxer.conf")); err != nil || string(text) != "set up by hand" {
		t.Errorf("etc/muxer.conf = %q, %v; want it as on the board", text, err)
	}
	if _, err := os.Stat(filepath.Join(made, "etc/pibootd/worker.json")); err == nil {
		t.Error("the worker's token is in the template")
	}
	o.Name, o.Board = "nobody", 0x99
	b.await(b.begin(o).ID, Failed)
	b.wantTemplates("mine@1", "small@1")
}

// What cannot be imported fails with a sentence that names it as its owner does.
func TestImportFails(t *testing.T) {
	b := newBench(t)
	b.start()
	if err := os.WriteFile(b.media("film.mkv"), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", b.media("link")); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{"film.mkv": "importing film.mkv: unknown content", "link": "link", "gone": "gone"} {
		op := b.await(b.begin(b.order("small", source)).ID, Failed)
		if !strings.Contains(op.Error, want) || strings.Contains(op.Error, "/proc/") {
			t.Errorf("%s fails with %q; want %q in it", source, op.Error, want)
		}
	}
	if _, err := b.keeper.Begin(b.order("No Name", "small.tar.gz")); !errors.As(err, new(pi.RequestError)) {
		t.Errorf("Begin of a wrong name = %v; want a RequestError", err)
	}
	b.wantTemplates()
}

// Whoever is killed, the process or the daemon, no half of a template stays, and the state is
// known. An operation that no process has begun is made after the restart.
func TestKilled(t *testing.T) {
	b := newBench(t)
	b.start()
	release := b.block()
	first := b.begin(b.order("first", "small.tar.gz"))
	b.await(first.ID, Waiting)
	b.mu.Lock()
	for len(b.processes) == 0 {
		b.mu.Unlock()
		pause.For(t.Context(), 10*time.Millisecond)
		b.mu.Lock()
	}
	process := b.processes[0].Process
	b.mu.Unlock()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if op := b.await(first.ID, Failed); op.Error == "" {
		t.Errorf("operation of a killed process = %+v; want a reason", op)
	}
	b.stop()
	killed := New(b.keeper.Dir, nil, b.keeper.Log) // a daemon that is killed before it launches
	second, err := killed.Begin(b.order("second", "small.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(killed.path(99), 0o700); err != nil { // and one that is killed before it has written the order
		t.Fatal(err)
	}
	b.start()
	release()
	b.await(second.ID, Done)
	if _, err := b.keeper.Find(99); !errors.Is(err, ErrUnknown) {
		t.Errorf("Find of half an operation = %v; want ErrUnknown", err)
	}
	b.wantTemplates("second@1")
}

// The daemon of a restart finds the process of the one before it, and cancels it.
func TestCancelAfterRestart(t *testing.T) {
	b := newBench(t)
	b.start()
	release := b.block()
	defer release()
	op := b.begin(b.order("small", "small.tar.gz"))
	for !isLocked(b.keeper.path(op.ID)) {
		pause.For(t.Context(), 10*time.Millisecond)
	}
	b.keeper = New(b.keeper.Dir, nil, b.keeper.Log)
	b.await(op.ID, Waiting)
	if _, err := b.keeper.Cancel(op.ID); err != nil {
		t.Fatal(err)
	}
	b.await(op.ID, Cancelled)
	if _, err := b.keeper.Cancel(op.ID); err != nil { // forgets it
		t.Fatal(err)
	}
	if all, err := b.keeper.List(); err != nil || len(all) > 0 {
		t.Errorf("List = %+v, %v; want it forgotten", all, err)
	}
	b.wantTemplates()
}
