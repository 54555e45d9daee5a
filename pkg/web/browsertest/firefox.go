package browsertest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Firefox has a page open, and is controlled by its own WebDriver, which speaks the
// Marionette protocol: over TCP, each message with its length and a colon before it.
type Firefox struct {
	*testing.T
	conn  net.Conn
	in    *bufio.Reader
	calls int
}

// firefoxSettings have it play at once and in silence, say nothing to anybody, and
// choose a free port.
const firefoxSettings = `user_pref("marionette.port", 0);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("media.volume_scale", "0.0");
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.safebrowsing.update.enabled", false);
`

// OpenFirefox starts Debian's Firefox, which ends with the test, and connects to it by
// dial, in a network namespace perhaps.
func OpenFirefox(t *testing.T, start Start, dial func(addr string) (net.Conn, error)) *Firefox {
	t.Helper()
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxSettings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("firefox-esr", "--headless", "--no-remote", "--marionette", "--profile", profile, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Error(err)
		}
		<-ended
	})
	conn, err := dial("127.0.0.1:" + firefoxPort(t, filepath.Join(profile, "MarionetteActivePort")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	f := &Firefox{T: t, conn: conn, in: bufio.NewReader(conn)}
	if _, err := f.message(); err != nil { // its greeting
		t.Fatal(err)
	}
	f.Call("WebDriver:NewSession", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}}})
	f.Call("WebDriver:SetTimeouts", map[string]any{"script": timeout.Milliseconds(), "pageLoad": timeout.Milliseconds()})
	return f
}

// firefoxPort waits for the file in which Firefox writes its port.
func firefoxPort(t *testing.T, file string) string {
	t.Helper()
	late := time.After(timeout)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
			return strings.TrimSpace(string(text))
		}
		select {
		case <-look.C:
		case <-late:
			t.Fatal("Firefox does not start")
		}
	}
}

// message reads a message.
func (f *Firefox) message() (json.RawMessage, error) {
	length, err := f.in.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil || n < 0 || n > 64<<20 {
		return nil, fmt.Errorf("a message of %q bytes: %w", length, err)
	}
	text := make([]byte, n)
	_, err = io.ReadFull(f.in, text)
	return text, err
}

// Call calls a command of WebDriver, and returns its result.
func (f *Firefox) Call(command string, parameters map[string]any) json.RawMessage {
	f.Helper()
	f.calls++
	text, err := json.Marshal([]any{0, f.calls, command, parameters})
	if err == nil {
		err = f.conn.SetDeadline(time.Now().Add(timeout))
	}
	if err == nil {
		_, err = fmt.Fprintf(f.conn, "%d:%s", len(text), text)
	}
	var answer json.RawMessage
	if err == nil {
		answer, err = f.message()
	}
	var parts [4]json.RawMessage // kind, number, error, result
	if err == nil {
		err = json.Unmarshal(answer, &parts)
	}
	if err != nil || string(parts[2]) != "null" {
		f.Fatalf("%s: %v %s", command, err, parts[2])
	}
	return parts[3]
}

// Go opens an address.
func (f *Firefox) Go(url string) {
	f.Helper()
	f.Call("WebDriver:Navigate", map[string]any{"url": url})
}

// Text returns the value of an expression in the page, as JSON. A promise is waited for.
func (f *Firefox) Text(expression string) string {
	f.Helper()
	var result struct{ Value json.RawMessage }
	answer := f.Call("WebDriver:ExecuteScript", map[string]any{"script": "return " + expression, "args": []any{}})
	if err := json.Unmarshal(answer, &result); err != nil {
		f.Fatal(err)
	}
	return string(result.Value)
}

// WaitFor returns when an expression has become true in the page.
func (f *Firefox) WaitFor(expression string) {
	f.Helper()
	found := f.Text(fmt.Sprintf(`new Promise(resolve => {
		const end = Date.now() + %d, look = () => {
			let ok = false;
			try { ok = %s; } catch { /* the page is not there yet */ }
			ok || Date.now() > end ? resolve(Boolean(ok)) : setTimeout(look, 50);
		};
		look();
	})`, timeout.Milliseconds()/2, expression))
	if found != "true" {
		f.Fatalf("it never becomes true that %s; the page is\n%s", expression, f.Text(`document.body.innerText`))
	}
}
