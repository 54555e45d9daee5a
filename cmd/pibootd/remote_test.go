package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

// Commands work from another machine, by flags before or after the command, or by
// the environment. A video of that machine is uploaded.
func TestCommandsOfAnotherMachine(t *testing.T) {
	dir := t.TempDir()
	_, socket, addr := serveQueueOverTCP(t, dir)
	code, token, errs := pibootd(t, "", "token", "add", "laptop", "--scope", "admin", socket)
	if code != exitDone {
		t.Fatal(errs)
	}
	file, video := filepath.Join(dir, "token"), filepath.Join(dir, "a film.mp4")
	for name, text := range map[string]string{file: token, video: "a video"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := []string{"--server", "http://" + addr, "--token-file=" + file}
	code, out, errs := pibootd(t, "", append(server, "transcode", video, "--mp4", "--json")...)
	var submitted web.Submitted
	if err := json.Unmarshal([]byte(out), &submitted); code != exitDone || err != nil || submitted.Job.Request.Source != "uploads/a film.mp4" {
		t.Fatalf("transcode: %d, %v, %s\n%s", code, err, errs, out)
	}
	t.Setenv(envServer, "http://"+addr)
	t.Setenv(envTokenFile, file)
	code, out, errs = pibootd(t, "", "jobs", "list", "--json")
	var jobs []queue.Job
	if err := json.Unmarshal([]byte(out), &jobs); code != exitDone || err != nil || len(jobs) != 1 {
		t.Errorf("jobs: %d, %v, %s\n%s", code, err, errs, out)
	}
	if code, _, errs := pibootd(t, "", "admin-link"); code != exitFailed || !strings.Contains(errs, "setup-link") {
		t.Errorf("admin-link from another machine: %d, %s; want it refused", code, errs)
	}
	if code, out, _ := pibootd(t, "", "admin-link", socket); code != exitDone || !strings.Contains(out, "/setup#") {
		t.Errorf("admin-link over the socket: %d, %s; want the socket preferred to the environment", code, out)
	}
	if code, _, errs := pibootd(t, "", "jobs", "list", "--server=http://127.0.0.1:1"); code != exitFailed || !strings.Contains(errs, "hint: is pibootd running there") {
		t.Errorf("jobs of nobody: %d, %s; want a hint", code, errs)
	}
}
