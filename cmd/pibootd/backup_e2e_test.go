//go:build e2e

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"
	nfsclient "github.com/vmware/go-nfs-client/nfs"

	"pibootd/pkg/backup"
	"pibootd/pkg/daemon"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// A backup that was made while the daemon runs is a whole installation
// elsewhere, with the same boards, roots, videos and jobs.
func TestBackup(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.buildTemplate(t)
	l.serve(t)
	l.pibootd(t, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "kept", "--ip", "10.77.0.50", "--clone", "copy")
	l.pibootd(t, "add-pi", "--mac", "b8:27:eb:33:34:7b", "--serial", "3333347b", "--ip", "10.77.0.51", "--clone", "overlay")
	job := l.doJob(t, "3333347a")
	board := &mounted{host: netlabtest.Host{Port: "board", MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Addr: "10.77.0.50/24"}.Join(t, l.net), path: "/roots/3333347a"}
	defer board.close()
	if err := board.do(t.Context(), readHostName); err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(l.state, "roots/3333347b/etc/changed by the board")
	if err := os.WriteFile(changed, []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	boards, roots := decode[[]registry.Pi](t, l, "list-pis"), l.rootManifests(t)

	dir := t.TempDir()
	plain, sealed, phrase := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed"), filepath.Join(dir, "phrase")
	if err := os.WriteFile(phrase, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := l.history(t)
	l.pibootd(t, "backup", "--media", plain)
	l.pibootd(t, "backup", "--passphrase-file", phrase, sealed)
	wantIn(t, l.pibootd(t, "backup", "verify", plain), "whole: 2 boards and 1 template of ", ", and the media share, made ")
	wantIn(t, l.pibootd(t, "backup", "verify", "--passphrase-file", phrase, sealed), "whole: 2 boards and 1 template")
	_, said, err := l.try(t, "backup", plain)
	wantRefused(t, err, said, plain+" exists; want the name of a new file")
	_, said, err = l.try(t, "backup", "verify", sealed)
	wantRefused(t, err, said, "it is sealed; want the passphrase or the identity that opens it")

	l.keepsSome(t)
	l.backsUpWholeRoots(t, roots)

	l.daemon.end(t, syscall.SIGTERM)
	l.unmountRoots(t)
	_, said, err = l.try(t, "restore", plain)
	wantRefused(t, err, said, l.state+" is not empty; want a directory that does not exist")
	l.state = filepath.Join(dir, "new")
	l.refuseDamaged(t, plain)
	out := l.pibootd(t, "restore", plain)
	wantIn(t, out, "restored 2 boards and 1 template", "Boards that ran meanwhile have to be started again")
	l.resumes(t)
	l.serve(t)
	if is := decode[[]registry.Pi](t, l, "list-pis"); !equalBoards(is, boards) {
		t.Errorf("the boards are %v; want %v", is, boards)
	}
	for serial, was := range roots {
		if changes := filetree.Compare(was, l.rootManifests(t)[serial]); len(changes) > 0 {
			t.Errorf("the root of %s is another one: %v", serial, changes)
		}
	}
	if after := l.history(t); !strings.HasPrefix(after, before) {
		t.Errorf("jobs and timelines are\n%s\nwant them to begin with\n%s", after, before)
	}
	if got := ffprobe(t, filepath.Join(l.state, "media", job.Output), "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets"); len(got) == 0 || got[0] != "60" {
		t.Errorf("the published stream has %q pictures; want 60", got)
	}
	l.namesWhoHangs(t, board)
	l.pibootd(t, "rehearse", "kept")
	l.pibootd(t, "rehearse", "3333347b")
}

// doJob has the worker of a board do a job.
func (l *lab) doJob(t *testing.T, serial string) queue.Job {
	t.Helper()
	makeVideo(t, filepath.Join(l.state, "media", "film.mp4"), "2")
	board, err := l.client.Pi(t.Context(), serial)
	if err != nil {
		t.Fatal(err)
	}
	worker := l.workAs(t, l.net, board.Serial)
	submitted, err := l.client.Submit(t.Context(), transcode.Request{Source: "film.mp4", Name: "film", SegmentSeconds: 2}, false)
	if err != nil {
		t.Fatal(err)
	}
	job := l.waitFor(t, submitted.Job)
	worker.signal(t, syscall.SIGKILL)
	<-worker.ended
	return job
}

// history returns the jobs and the timelines of the boards, as the database has them.
func (l *lab) history(t *testing.T) string {
	t.Helper()
	db, err := store.Read(t.Context(), filepath.Join(l.state, daemon.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all string
	for _, query := range []string{
		"SELECT group_concat(id || state || request || plan, '\n') FROM jobs",
		"SELECT group_concat(job || unit || state || attempt || result, '\n') FROM units",
		"SELECT group_concat(id || event, '\n') FROM (SELECT * FROM events ORDER BY id)",
	} {
		var rows string
		if err := db.QueryRow(t.Context(), query).Scan(&rows); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		all += rows + "\n"
	}
	return all
}

func readHostName(target *nfsclient.Target) error {
	_, err := target.Open("etc/hostname")
	return err
}

// namesWhoHangs has a board go on that ran meanwhile: what it has mounted is the old disk's, and
// doctor says so until it mounts its root again.
func (l *lab) namesWhoHangs(t *testing.T, board *mounted) {
	t.Helper()
	board.close()
	if err := board.do(t.Context(), readHostName); err == nil {
		t.Error("a handle of the old disk is good for a file of the new one")
	}
	const hangs = "kept hangs: it uses file handles that this pibootd has not made"
	waitUntil(t, "show-pi does not say that the board hangs", func() bool { return strings.Contains(l.pibootd(t, "show-pi", "kept"), hangs) })
	if out, _, _ := l.try(t, "doctor"); !strings.Contains(out, hangs) {
		t.Errorf("doctor does not name the board that hangs:\n%s", out)
	}
	board.close()
	again := &mounted{host: board.host, path: board.path}
	defer again.close()
	if err := again.do(t.Context(), readHostName); err != nil {
		t.Errorf("after it has mounted its root again: %v", err)
	}
	if out := l.pibootd(t, "show-pi", "kept"); strings.Contains(out, hangs) {
		t.Errorf("show-pi says of a board that has mounted its root again:\n%s", out)
	}
	if err := l.net.Delete("board"); err != nil { // the virtual board has its address
		t.Error(err)
	}
}

// keepsSome backs up to a directory, in which only the last backups of this machine are kept.
func (l *lab) keepsSome(t *testing.T) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, second, other, text := "pibootd-"+host+"-20250101-000000.backup", "pibootd-"+host+"-20250102-000000.backup", "pibootd-another-20250101-000000.backup", "pibootd-"+host+"-notes"
	for _, name := range []string{first, second, other, text} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.pibootd(t, "backup", "--keep", "2", dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) != 4 || slices.Contains(names, first) || !slices.Contains(names, second) || !slices.Contains(names, other) || !slices.Contains(names, text) {
		t.Errorf("the directory has %q; want all but %s, and a new backup", names, first)
	}
}

// refuseDamaged restores damaged copies of a backup, which has to leave nothing.
func (l *lab) refuseDamaged(t *testing.T, file string) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"cut off": whole[:len(whole)*2/3], "without its last byte": whole[:len(whole)-1], "with a wrong bit": flipped, "another file": []byte("hello"), "empty": nil} {
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(copied, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, said, err := l.try(t, "restore", copied); err == nil || !strings.Contains(said, "pibootd: backup: ") {
			t.Errorf("restoring a backup %s: %v: %s", name, err, said)
		}
		for _, left := range []string{l.state, l.state + ".restoring"} {
			if _, err := os.Lstat(left); err == nil {
				t.Errorf("restoring a backup %s left %s", name, left)
			}
		}
	}
}

// A restore that was interrupted is finished before the daemon serves.
func (l *lab) resumes(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(l.state, backup.Unfinished), 0o700); err != nil {
		t.Fatal(err)
	}
	_, said, err := l.try(t, "serve", "--interface", "br0", "--state-dir", l.state)
	wantRefused(t, err, said, "hint: pibootd restore --resume")
	_, said, err = l.try(t, "restore", "/dev/null")
	wantRefused(t, err, said, "then pibootd restore --resume --state-dir "+l.state)
	wantIn(t, l.pibootd(t, "restore", "--resume"), "has all roots")
}

// backsUpWholeRoots has a backup with whole roots go through a pipe, sealed for somebody, and
// compares what they restore.
func (l *lab) backsUpWholeRoots(t *testing.T, roots map[string]filetree.Manifest) {
	t.Helper()
	somebody, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, identity := filepath.Join(dir, "backup"), filepath.Join(dir, "identity")
	putText(t, identity, somebody.String()+"\n")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	backup := exec.CommandContext(t.Context(), l.binary, "backup", "--roots", "--recipient", somebody.Recipient().String(), "-")
	backup.Env, backup.Stdout = l.environ(), out
	if err := backup.Run(); err != nil {
		t.Fatal(err)
	}
	_, said, err := l.try(t, "backup", "verify", "--passphrase-file", identity, file)
	wantRefused(t, err, said, "it is sealed for somebody else, or with another passphrase")
	wantIn(t, l.pibootd(t, "backup", "verify", "--identity", identity, file), "whole: 2 boards and 1 template")
	other := *l
	other.state = filepath.Join(dir, "other")
	other.pibootd(t, "restore", "--identity", identity, file)
	for serial, is := range other.rootManifests(t) {
		if changes := filetree.Compare(roots[serial], is); len(changes) > 0 {
			t.Errorf("the root of %s, out of a backup with whole roots, is another one: %v", serial, changes)
		}
	}
}

func (l *lab) rootManifests(t *testing.T) map[string]filetree.Manifest {
	t.Helper()
	all := map[string]filetree.Manifest{}
	for _, serial := range []string{"3333347a", "3333347b"} {
		m, err := filetree.Scan(t.Context(), filepath.Join(l.state, "roots", serial), nil)
		if err != nil {
			t.Fatal(err)
		}
		all[serial] = m
	}
	return all
}

func equalBoards(a, b []registry.Pi) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Serial != b[i].Serial || a[i].MAC != b[i].MAC || a[i].IP != b[i].IP || a[i].Name != b[i].Name || a[i].Root != b[i].Root {
			return false
		}
	}
	return true
}

func wantIn(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("want %q in\n%s", text, out)
		}
	}
}

func wantRefused(t *testing.T, err error, said, want string) {
	t.Helper()
	if err == nil || !strings.Contains(said, want) {
		t.Errorf("it ended with %v and said\n%swant %q", err, said, want)
	}
}
