package fdstore

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Keeper runs a program, keeps the descriptors that it asks to be kept, and starts it
// again with them when it fails. It is for where systemd does not do so, such as a
// container, and may be the first process there. Set its fields before Run.
type Keeper struct {
	Args []string // the program's file and its arguments
	Log  *slog.Logger
	// Pause is the wait before a program that has failed is started again; 0 means 1 s.
	Pause time.Duration

	conn     *net.UnixConn // where the program's messages arrive
	messages chan message
	child    int // its process id
	files    []*os.File
}

// Run runs the program until it ends without an error, or signals says that it shall end:
// SIGTERM and SIGINT are passed on, SIGHUP has the program end and start again. It returns
// the program's exit code.
func (k *Keeper) Run(signals <-chan os.Signal) (code int, err error) {
	Inherit()              // what the keeper's own service manager says is not for the program
	runtime.LockOSThread() // the program's end is tied to that of the thread which starts it
	defer runtime.UnlockOSThread()
	if err := k.listen(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	defer close(done)
	defer k.conn.Close()
	go k.receive(done)
	for {
		ended, err := k.start()
		if err != nil {
			return 0, err
		}
		code, again := k.wait(ended, signals)
		k.drain()
		if !again {
			return code, nil
		}
		k.Log.Info("the program is started again", "component", "keeper", "exit", code, "kept", len(k.files))
		if code != 0 && !k.rest(signals) {
			return code, nil
		}
	}
}

// listen opens the socket that the program sends its messages to. Its name is in no
// directory, because those of a container may be read-only. handle knows who may send.
func (k *Keeper) listen() error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@pibootd-keep-" + rand.Text(), Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	err = control(conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		return errors.Join(fmt.Errorf("keeper: %w", err), conn.Close())
	}
	k.conn, k.messages = conn, make(chan message)
	return nil
}

// start starts the program with what is kept. The channel has its exit code when it has ended.
func (k *Keeper) start() (<-chan int, error) {
	names := []string{}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	for _, file := range k.files {
		names, files = append(names, file.Name()), append(files, file)
	}
	// Not exec.Cmd: it waits for one process, and the first process of a container has to
	// wait for all.
	process, err := os.StartProcess(k.Args[0], k.Args, &os.ProcAttr{
		Files: files,
		Env: append(os.Environ(), envNotify+"="+k.conn.LocalAddr().String(), envKeeper+"="+strconv.Itoa(os.Getpid()),
			envCount+"="+strconv.Itoa(len(names)), envNames+"="+strings.Join(names, ":")),
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM},
	})
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	k.child = process.Pid
	ended := make(chan int, 1)
	go func(pid int) { ended <- reap(pid) }(process.Pid)
	return ended, nil
}

// reap waits for the program, and for what it has left behind if that is the first
// process's to do. It returns the program's exit code as a shell does.
func reap(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR) || err == nil && got != pid:
		case err != nil: // ECHILD: not ours to wait for
			return 1
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

// wrongCommand is how a program ends whose command line is wrong: another start would be no better.
const wrongCommand = 2

// wait waits for the end of the program, and tells whether it is to be started again.
func (k *Keeper) wait(ended <-chan int, signals <-chan os.Signal) (code int, again bool) {
	again, asked := true, false
	for {
		select {
		case m := <-k.messages:
			k.handle(m)
		case code := <-ended:
			if asked && again {
				return 0, true
			}
			return code, again && code != 0 && code != wrongCommand
		case signal := <-signals:
			asked, again = true, signal == syscall.SIGHUP
			if again {
				signal = syscall.SIGTERM
			}
			_ = unix.Kill(k.child, signal.(syscall.Signal)) // it may have ended
		}
	}
}

// rest waits before the program is started again, and tells whether it still is to be.
func (k *Keeper) rest(signals <-chan os.Signal) bool {
	timer := time.NewTimer(cmp.Or(k.Pause, time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case signal := <-signals:
		return signal == syscall.SIGHUP
	}
}
