// Package browsertest opens pages in Debian's Chromium, for tests.
package browsertest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// timeout is how long a browser may take for one answer.
const timeout = 5 * time.Minute

// A Start starts the browser, in a network namespace perhaps.
type Start func(*exec.Cmd) error

// Flags have a browser run without a screen, alone, and play at once.
func Flags(t *testing.T) []string {
	profile, err := os.MkdirTemp("", "pibootd-browser-")
	if err != nil {
		t.Fatal(err)
	}
	// Its children may outlive a browser a little, and write.
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	return []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
		"--autoplay-policy=no-user-gesture-required", "--mute-audio", "--disable-background-networking", "--disable-component-update",
		"--disable-background-timer-throttling", "--user-data-dir=" + profile,
	}
}

// A Page is open in a browser that is controlled by the DevTools protocol
// over a pair of pipes: JSON values, each with a NUL behind it.
type Page struct {
	*testing.T
	// Expected are parts of errors of the console that are meant, such as a status.
	Expected   []string
	Complaints []string // all other errors of the console, broken rules among them
	in, from   *os.File
	out        *bufio.Reader // of from
	session    string
	calls      int
}

// Open opens a page in a browser, which ends with the test.
func Open(t *testing.T, start Start, url string) *Page {
	t.Helper()
	fromUs, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", append(Flags(t), "--remote-debugging-pipe", "about:blank")...)
	cmd.ExtraFiles = []*os.File{fromUs, toUs} // 3 and 4
	if err := start(cmd); err != nil {
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
	p := &Page{T: t, in: toBrowser, from: fromBrowser, out: bufio.NewReaderSize(fromBrowser, 1<<20)}
	p.begin(url)
	return p
}

func (p *Page) begin(url string) {
	p.Helper()
	var target struct{ TargetID, SessionID string }
	p.Call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	p.Call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	p.session = target.SessionID
	p.Call("Log.enable", nil, nil)
	p.Call("Runtime.enable", nil, nil)
	p.Call("Page.navigate", map[string]any{"url": url}, nil)
}

// A message is what the browser sends: an answer or an event.
type message struct {
	ID     int
	Method string
	Error  *struct{ Message string }
	Result json.RawMessage
	Params json.RawMessage
}

// Call calls a method and waits for its answer.
func (p *Page) Call(method string, params map[string]any, result any) {
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
	if err := p.from.SetReadDeadline(time.Now().Add(timeout)); err != nil {
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
func (p *Page) next() message {
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
		if entry := string(m.Params); strings.Contains(entry, `"level":"error"`) && !p.expects(entry) {
			p.Complaints = append(p.Complaints, entry)
		}
	case "Runtime.exceptionThrown":
		p.Complaints = append(p.Complaints, string(m.Params))
	}
	return m
}

func (p *Page) expects(entry string) bool {
	for _, part := range p.Expected {
		if strings.Contains(entry, part) {
			return true
		}
	}
	return false
}

// evaluate returns the value of an expression in the page.
func (p *Page) evaluate(expression string) (value json.RawMessage) {
	p.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.Call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &answer)
	if answer.ExceptionDetails != nil {
		p.Fatalf("%.200s: %s", expression, answer.ExceptionDetails)
	}
	return answer.Result.Value
}

// Do runs statements in the page.
func (p *Page) Do(statements string) {
	p.Helper()
	p.evaluate(statements + "; true")
}

// Value reports whether an expression is true in the page.
func (p *Page) Value(expression string) bool {
	p.Helper()
	return string(p.evaluate(expression)) == "true"
}

// Text returns the value of an expression in the page, as JSON.
func (p *Page) Text(expression string) string {
	p.Helper()
	return string(p.evaluate(expression))
}

// WaitFor returns when an expression has become true in the page.
func (p *Page) WaitFor(expression string) {
	p.Helper()
	const all = `document.body.innerText`
	found := p.Value(`new Promise(resolve => {
		const end = Date.now() + 60000, look = () => {
			let ok = false;
			try { ok = ` + expression + `; } catch { /* the page is not there yet */ }
			ok || Date.now() > end ? resolve(Boolean(ok)) : setTimeout(look, 50);
		};
		look();
	})`)
	if !found {
		p.Fatalf("it never becomes true that %s; the page is\n%s", expression, p.Text(all))
	}
}

// A Screen is what a page is shown on.
type Screen struct {
	Width, Height int
	Phone         bool // two pixels a dot, and fingers
	Dark          bool
}

// Show puts the page on a screen.
func (p *Page) Show(on Screen) {
	p.Helper()
	scale, scheme := 1, "light"
	if on.Phone {
		scale = 2
	}
	if on.Dark {
		scheme = "dark"
	}
	p.Call("Emulation.setDeviceMetricsOverride", map[string]any{"width": on.Width, "height": on.Height, "deviceScaleFactor": scale, "mobile": on.Phone}, nil)
	p.Call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
}

// Go opens another address in the page, and returns why that was not shown.
func (p *Page) Go(url string) (problem string) {
	p.Helper()
	var answer struct{ ErrorText string }
	p.Call("Page.navigate", map[string]any{"url": url}, &answer)
	return answer.ErrorText
}

// Press presses a key and lets it go.
func (p *Page) Press(key string, code int) {
	p.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		event := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if key == "Enter" && kind == "keyDown" {
			event["text"] = "\r"
		}
		p.Call("Input.dispatchKeyEvent", event, nil)
	}
}

// Screenshot writes what is seen of the page to a file.
func (p *Page) Screenshot(file string) {
	p.Helper()
	var picture struct{ Data string }
	p.Call("Page.captureScreenshot", map[string]any{"format": "png"}, &picture)
	content, err := base64.StdEncoding.DecodeString(picture.Data)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, content, 0o644)
	}
	if err != nil {
		p.Fatal(err)
	}
}
