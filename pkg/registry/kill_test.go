package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"pibootd/pkg/store"
)

// adderFile names the environment variable with a database. If it is set, this test
// binary adds boards and machines to that database instead of running tests.
const adderFile = "PIBOOTD_TEST_ADDER"

func TestMain(m *testing.M) {
	if file := os.Getenv(adderFile); file != "" {
		fmt.Fprintln(os.Stderr, addUntilKilled(file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// addUntilKilled adds boards and machines and prints the name of each after it was
// added.
func addUntilKilled(file string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, file)
	if err != nil {
		return err
	}
	r, err := Open(ctx, s)
	if err != nil {
		return err
	}
	for i := 1; i <= maxMachines; i++ {
		p, err := r.Add(ctx, board(i), "secret")
		if err != nil {
			return err
		}
		fmt.Println(p.Name)
		m, err := r.AddMachine(ctx, Machine{Name: fmt.Sprintf("pc%d", i)}, "secret")
		if err != nil {
			return err
		}
		fmt.Println(m.Name)
	}
	return errors.New("nobody killed it")
}

func TestKillLosesNothingThatAddReturned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	adder := exec.CommandContext(t.Context(), os.Args[0])
	adder.Env = append(os.Environ(), adderFile+"="+file)
	adder.Stderr = os.Stderr
	out, err := adder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := adder.Start(); err != nil {
		t.Fatal(err)
	}
	var added []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		added = append(added, lines.Text())
		if len(added) == 20 {
			if err := adder.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := adder.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("adder ended with %v; want it killed", err)
	}
	r := open(t, openStore(t, file))
	for _, name := range added {
		if _, ok := r.MachineByName(name); ok && r.CheckMachineToken(name, "secret") {
			continue
		}
		p, err := r.Find(name)
		if err != nil || !r.CheckToken(p.Serial, "secret") {
			t.Errorf("after the kill: %v; want %s and its token", err, name)
		}
	}
	// Beyond those, at most the one that was being added may exist.
	if got := len(r.All()) + len(r.Machines()); len(added) < 20 || got > len(added)+1 {
		t.Errorf("%d boards and machines after the kill, %d reported; want no more than one beyond", got, len(added))
	}
}
