package fdstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"
)

// envRole says what this process is in TestProgramEndsWithItsKeeper.
const envRole = "PIBOOTD_TEST_ROLE"

const (
	keeperRole  = "keeper"
	programRole = "program"
)

func play(role string) int {
	if role == keeperRole {
		_ = os.Setenv(envRole, programRole)
		code, err := (&Keeper{Args: []string{os.Args[0]}, Log: slog.New(slog.DiscardHandler)}).Run(nil)
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	ctx, cancel := Inherit().Within(context.Background())
	defer cancel()
	signal.Ignore(unix.SIGTERM) // as if the kernel had forgotten to send it
	fmt.Println("begun")
	<-ctx.Done()
	return 0
}

// A program ends when its keeper is killed, whether the kernel tells it or not.
func TestProgramEndsWithItsKeeper(t *testing.T) {
	t.Parallel()
	keeper := exec.Command(os.Args[0])
	keeper.Env = append(os.Environ(), envRole+"="+keeperRole)
	out, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "begun\n" {
		t.Fatalf("the program says %q, %v", line, err)
	}
	if err := keeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if more, err := io.ReadAll(lines); err != nil || len(more) > 0 { // it has the pipe until it ends
		t.Errorf("the program says %q, %v", more, err)
	}
	_ = keeper.Wait() // it was killed
}
