//go:build e2e

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/transcode/queue"
)

// A person hands a video in on the page, sees it become a stream, and plays it.
func TestPage(t *testing.T) {
	const token = "the token for uploads in this test"
	l := newLab(t)
	dir := t.TempDir()
	config, secret, video := filepath.Join(dir, "pibootd.toml"), filepath.Join(dir, "token"), filepath.Join(dir, "a.mp4")
	err := errors.Join(os.WriteFile(secret, []byte(token), 0o600), os.WriteFile(config, fmt.Appendf(nil, "[http]\npublic = \"read\"\nupload_token_file = %q\n", secret), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	l.serve(t, "--config", config)
	l.startWorker(t)
	makeVideo(t, video, "3")
	content, err := os.ReadFile(video)
	if err != nil {
		t.Fatal(err)
	}

	p := l.openPage(t, "http://10.77.0.1:8080/")
	p.waitFor(`document.querySelector("#pis").textContent.includes("hlspi1") && document.querySelector("#pis").textContent.includes("online")`)
	p.waitFor(`document.querySelector("#jobs").textContent.includes("none")`)
	p.do(fmt.Sprintf(`{
		const bytes = Uint8Array.from(atob(%q), c => c.charCodeAt(0)), files = new DataTransfer(), form = document.querySelector("#upload");
		files.items.add(new File([bytes], "a <b>film</b>.mp4"));
		form.video.files = files.files;
		form.makes.selectedIndex = 2;
		form.token.value = "not the token";
		form.requestSubmit();
	}`, base64.StdEncoding.EncodeToString(content)))
	p.waitFor(`document.querySelector("#upload output").textContent.includes("not known here") && !document.querySelector("#upload button").disabled`)
	p.do(`document.querySelector("#upload").token.value = "` + token + `"; document.querySelector("#upload").requestSubmit()`)
	p.waitFor(`document.querySelector("#upload output").textContent === "job 1"`)
	p.waitFor(`document.querySelector("#jobs a")?.textContent.startsWith("mp4/")`)
	if job, err := l.client.Job(t.Context(), 1); err != nil || job.State != queue.Done || job.Request.Source != "uploads/a <b>film</b>.mp4" {
		t.Errorf("job 1: %+v, %v; want the upload transcoded", job, err)
	}
	p.do(`document.querySelector("#jobs a").click(); document.querySelector("video").playbackRate = 4`)
	p.waitFor(`document.querySelector("video").ended && document.querySelector("video").videoWidth === 320`)

	l.pibootd(t, "transcode", "uploads/a <b>film</b>.mp4", "--wait")
	p.waitFor(`document.querySelector("#jobs a").textContent.startsWith("hls/")`)
	p.do(`document.querySelector("#jobs a").click(); document.querySelector("video").playbackRate = 4`)
	p.waitFor(`document.querySelector("video").ended || document.querySelector("#note").textContent.includes("cannot play")`)
	if p.value(`document.querySelector("video").canPlayType("application/vnd.apple.mpegurl") !== "" && !document.querySelector("video").ended`) {
		t.Errorf("a browser that says it can play streams does not: %s", p.text(`document.querySelector("video").error?.message ?? ""`))
	}
	if len(p.complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(p.complaints, "\n"))
	}
}

// A page is open in a browser that is controlled by the DevTools protocol
// over a pair of pipes: JSON values, each with a NUL behind it.
type page struct {
	*testing.T
	in         *os.File
	out        *bufio.Reader
	session    string
	calls      int
	complaints []string // errors of the console, broken rules among them
}

// openPage opens a page in a browser in the lab's network.
func (l *lab) openPage(t *testing.T, url string) *page {
	t.Helper()
	fromUs, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", append(browserFlags(t), "--remote-debugging-pipe", "about:blank")...)
	cmd.ExtraFiles = []*os.File{fromUs, toUs} // 3 and 4
	if err := l.net.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fromUs.Close(), toUs.Close()); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), toBrowser.Close())
		_ = cmd.Wait() // it was asked to end
		if err := errors.Join(err, fromBrowser.Close()); err != nil {
			t.Error(err)
		}
	})
	// One that hangs fails the test.
	if err := fromBrowser.SetReadDeadline(time.Now().Add(labTimeout)); err != nil {
		t.Fatal(err)
	}
	p := &page{T: t, in: toBrowser, out: bufio.NewReaderSize(fromBrowser, 1<<20)}
	p.begin(url)
	return p
}

func (p *page) begin(url string) {
	p.Helper()
	var target struct{ TargetID, SessionID string }
	p.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	p.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	p.session = target.SessionID
	p.call("Log.enable", nil, nil)
	p.call("Runtime.enable", nil, nil)
	p.call("Page.navigate", map[string]any{"url": url}, nil)
}

// A message is what the browser sends: an answer or an event.
type message struct {
	ID     int
	Method string
	Error  *struct{ Message string }
	Result json.RawMessage
	Params json.RawMessage
}

// call calls a method and waits for its answer.
func (p *page) call(method string, params map[string]any, result any) {
	p.Helper()
	p.calls++
	request := map[string]any{"id": p.calls, "method": method, "params": params}
	if params == nil {
		request["params"] = map[string]any{}
	}
	if p.session != "" {
		request["sessionId"] = p.session
	}
	text, err := json.Marshal(request)
	if err != nil {
		p.Fatal(err)
	}
	if _, err := p.in.Write(append(text, 0)); err != nil {
		p.Fatal(err)
	}
	for {
		m := p.next()
		if m.ID != p.calls {
			continue
		}
		if m.Error != nil {
			p.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				p.Fatal(err)
			}
		}
		return
	}
}

// next reads a message and notes what the page's console has to say.
func (p *page) next() message {
	p.Helper()
	text, err := p.out.ReadBytes(0)
	if err != nil {
		p.Fatalf("the browser says no more: %v", err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		p.Fatal(err)
	}
	switch m.Method {
	case "Log.entryAdded":
		// The wrong token is one, and meant.
		if entry := string(m.Params); strings.Contains(entry, `"level":"error"`) && !strings.Contains(entry, "401") {
			p.complaints = append(p.complaints, entry)
		}
	case "Runtime.exceptionThrown":
		p.complaints = append(p.complaints, string(m.Params))
	}
	return m
}

// evaluate returns the value of an expression in the page.
func (p *page) evaluate(expression string) (value json.RawMessage) {
	p.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &answer)
	if answer.ExceptionDetails != nil {
		p.Fatalf("%.200s: %s", expression, answer.ExceptionDetails)
	}
	return answer.Result.Value
}

func (p *page) do(statements string) {
	p.Helper()
	p.evaluate(statements + "; true")
}

func (p *page) value(expression string) bool {
	p.Helper()
	return string(p.evaluate(expression)) == "true"
}

func (p *page) text(expression string) string {
	p.Helper()
	return string(p.evaluate(expression))
}

// waitFor returns when an expression has become true in the page.
func (p *page) waitFor(expression string) {
	p.Helper()
	const all = `document.body.innerText`
	found := p.value(`new Promise(resolve => {
		const end = Date.now() + 60000, look = () => {
			let ok = false;
			try { ok = ` + expression + `; } catch { /* the page is not there yet */ }
			ok || Date.now() > end ? resolve(Boolean(ok)) : setTimeout(look, 50);
		};
		look();
	})`)
	if !found {
		p.Fatalf("it never becomes true that %s; the page is\n%s", expression, p.text(all))
	}
}
