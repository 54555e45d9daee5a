package main

import (
	"bytes"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// fakeDaemon answers on a socket like a daemon with one board, which is running.
// It returns the flag that names the socket, and records requests to remove.
func fakeDaemon(t *testing.T, removed *[]string) (socketFlag string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	const board = `{"id":1,"name":"hlspi1","serial":"3333347a","mac":"b8:27:eb:33:34:7a","ip":"10.0.0.11","online":true,"problem":"its root is gone\u001b"}`
	gone := func() bool { return len(*removed) > 0 }
	mux.HandleFunc("/api/v1/pis/{ref}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.PathValue("ref") != "hlspi1" && r.PathValue("ref") != "3333347a" || gone():
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error":"no such board"}`))
		case r.Method == http.MethodDelete:
			*removed = append(*removed, r.URL.RequestURI())
			_, _ = w.Write([]byte(`{"pi":` + board + `}`))
		default:
			_, _ = w.Write([]byte(board))
		}
	})
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return "--socket=" + socket
}

func TestRemovePi(t *testing.T) {
	const deletes, keeps = "/api/v1/pis/3333347a?keep_root=false", "/api/v1/pis/3333347a?keep_root=true"
	const question = "remove hlspi1 (serial 3333347a) and delete its root, which it is running on? [y/N] "
	for name, test := range map[string]struct {
		args, answer string
		code         int
		errs         string // begins standard error
		removed      string
	}{
		"yes":               {"remove-pi hlspi1", "y\n", exitDone, question, deletes},
		"the word":          {"remove-pi hlspi1", " YES \n", exitDone, question, deletes},
		"without a newline": {"remove-pi hlspi1", "y", exitDone, question, deletes},
		"no":                {"remove-pi hlspi1", "n\n", exitFailed, question + "pibootd: not confirmed: nothing changed\nhint: answer y, or give --yes\n", ""},
		"nothing":           {"remove-pi hlspi1", "\n", exitFailed, question, ""},
		"no terminal":       {"remove-pi hlspi1", "", exitFailed, question, ""},
		"something else":    {"remove-pi hlspi1", "hlspi1\ny\n", exitFailed, question, ""},
		"not asked":         {"remove-pi hlspi1 --yes", "", exitDone, "", deletes},
		"root kept":         {"remove-pi --keep-root 3333347a", "y\n", exitDone, "remove hlspi1 (serial 3333347a), which it is running on? [y/N] ", keeps},
		"unknown":           {"remove-pi nobody --yes", "", exitFailed, "pibootd: no such board", ""},
		"two":               {"remove-pi hlspi1 hlspi2", "y\n", exitUsage, "pibootd: got 2 arguments", ""},
		"none":              {"remove-pi", "y\n", exitUsage, "pibootd: got 0 arguments", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var removed []string
			args := append([]string{"pibootd"}, strings.Fields(test.args)...)
			var out, errs bytes.Buffer
			code := run(append(args, fakeDaemon(t, &removed)), streams{in: strings.NewReader(test.answer), out: &out, err: &errs})
			if code != test.code || !strings.HasPrefix(errs.String(), test.errs) || strings.Join(removed, " ") != test.removed {
				t.Errorf("exit %d, %q, removed %q; want %d, %q, %q", code, errs.String(), removed, test.code, test.errs, test.removed)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		removed := []string{}
		socket := fakeDaemon(t, &removed)
		for _, want := range []int{exitDone, exitFailed} {
			var out, errs bytes.Buffer
			if code := run([]string{"pibootd", "remove-pi", "--yes", socket, "hlspi1"}, streams{in: strings.NewReader(""), out: &out, err: &errs}); code != want {
				t.Errorf("exit %d, %q; want %d", code, errs.String(), want)
			}
		}
	})
}

// A board whose root is broken is shown with the problem.
func TestShowPiOfABrokenRoot(t *testing.T) {
	var removed []string
	var out, errs bytes.Buffer
	code := run([]string{"pibootd", "show-pi", fakeDaemon(t, &removed), "hlspi1"}, streams{in: strings.NewReader(""), out: &out, err: &errs})
	if code != exitDone || !strings.Contains(out.String(), "  problem   its root is gone?\n") {
		t.Errorf("exit %d, %q, %q; want the problem, without what disturbs a terminal", code, out.String(), errs.String())
	}
}
