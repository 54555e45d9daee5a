package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	uploadTestToken = "a token for uploads"
	uploadTestMax   = 1 << 20
)

// put uploads over TCP, or the control socket if token is "".
func (d daemon) put(t *testing.T, name, token string, body io.Reader) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+d.public+"/api/v1/media/"+name, body)
	if err != nil {
		t.Fatal(err)
	}
	client := http.DefaultClient
	if token == "" {
		client = &d.client.http
	} else {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func (d daemon) wantFile(t *testing.T, name, text string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(d.media, name))
	if err != nil || string(got) != text {
		t.Errorf("%s is %.40q, %v; want %.40q", name, got, err, text)
	}
}

// wantNoTemps makes sure that nothing unfinished is left.
func (d daemon) wantNoTemps(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Join(d.media, uploadDir)); len(left) > 0 || err != nil && !os.IsNotExist(err) {
		t.Errorf("left of uploads: %v, %v; want nothing", left, err)
	}
}

func TestUpload(t *testing.T) {
	d := start(t)
	if got := d.put(t, "videos/new%20dir/a.mp4", "", strings.NewReader("a video")); got != 201 {
		t.Errorf("control socket: %d; want 201", got)
	}
	d.wantFile(t, "videos/new dir/a.mp4", "a video")
	chunked := io.MultiReader(strings.NewReader("another"), strings.NewReader(" video")) // of a length that is not said
	if got := d.put(t, "b.mp4", uploadTestToken, chunked); got != 201 {
		t.Errorf("TCP: %d; want 201", got)
	}
	d.wantFile(t, "b.mp4", "another video")
	if info, err := os.Stat(filepath.Join(d.media, "b.mp4")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v; want one that boards can read", info.Mode(), err)
	}
	if got := d.put(t, "b.mp4", uploadTestToken, strings.NewReader("a third")); got != 409 {
		t.Errorf("the same name again: %d; want 409", got)
	}
	d.wantFile(t, "b.mp4", "another video")
	d.wantNoTemps(t)
}

func TestHostileUploads(t *testing.T) {
	d := start(t)
	if err := os.Symlink(t.TempDir(), filepath.Join(d.media, "out")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d.media, "file"), "x")
	for name, want := range map[string]int{
		"": 400, ".hidden": 400, "a/.hidden": 400, ".work/1/x": 400, "%2e%2e/x": 400, "a/%2e%2e/%2e%2e/x": 400, "..%2fx": 400,
		"hls/a": 400, "originals/a": 400, "a%00": 400, "a%0ab": 400, "%ff": 400, strings.Repeat("x", maxUploadName+1): 400,
		strings.Repeat("d/", maxUploadParts) + "a": 400, "out/a": 409, "file/a": 409, "dir/": 400,
	} {
		if got := d.put(t, name, "", strings.NewReader("x")); got != want {
			t.Errorf("PUT %.60q: %d; want %d", name, got, want)
		}
	}
	for _, token := range []string{"x", uploadTestToken + "x", " " + uploadTestToken, uploadTestToken[1:]} {
		if got := d.put(t, "a.mp4", token, strings.NewReader("x")); got != 401 {
			t.Errorf("token %q: %d; want 401", token, got)
		}
	}
	if got := d.put(t, "a.mp4", "", strings.NewReader("")); got != 400 {
		t.Errorf("an empty file: %d; want 400", got)
	}
	big := strings.Repeat("x", uploadTestMax+1)
	for what, body := range map[string]io.Reader{"said": strings.NewReader(big), "not said": io.MultiReader(strings.NewReader(big))} {
		if got := d.put(t, "a.mp4", "", body); got != 413 {
			t.Errorf("too big, which is %s: %d; want 413", what, got)
		}
	}
	if _, err := os.Stat(filepath.Join(d.media, "a.mp4")); !os.IsNotExist(err) {
		t.Errorf("a refused file: %v; want none", err)
	}
	d.wantNoTemps(t)
}

// An upload that breaks off leaves nothing.
func TestUploadBreaksOff(t *testing.T) {
	d := start(t)
	for _, head := range []string{"Content-Length: 1000\r\n\r\nsome", "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", d.public)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "PUT /api/v1/media/a.mp4 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s", uploadTestToken, head)
		err = errors.Join(err, conn.(*net.TCPConn).CloseWrite())
		answer, readErr := io.ReadAll(conn)
		if err := errors.Join(err, readErr, conn.Close()); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Errorf("%q: answered %.60q; want 400", head, answer)
		}
	}
	if _, err := os.Stat(filepath.Join(d.media, "a.mp4")); !os.IsNotExist(err) {
		t.Errorf("half a file: %v; want none", err)
	}
	d.wantNoTemps(t)
}

// Of many that come at once with one name, one is taken whole.
func TestUploadsAtOnce(t *testing.T) {
	d := start(t)
	const together = 8
	codes := make(chan int, together)
	for i := range together {
		go func() {
			codes <- d.put(t, "a.mp4", "", io.MultiReader(strings.NewReader(strings.Repeat(string(rune('a'+i)), 1000))))
		}()
	}
	created := 0
	for range together {
		if <-codes == 201 {
			created++
		}
	}
	text, err := os.ReadFile(filepath.Join(d.media, "a.mp4"))
	if created != 1 || err != nil || len(text) != 1000 || strings.Trim(string(text), string(text[:1])) != "" {
		t.Errorf("%d were taken, %d bytes, %v; want one, whole", created, len(text), err)
	}
	d.wantNoTemps(t)
}

// Slow uploads take from those alone that come from the same address, and a
// hundred of them shut out nobody else.
func TestSlowUploadsShutOutNobody(t *testing.T) {
	d := start(t)
	slow := func(from byte) (status int) {
		conn := d.dialFrom(t, from)
		_, err := fmt.Fprintf(conn, "PUT /api/v1/media/slow%d.mp4 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", from, uploadTestToken)
		if err != nil {
			t.Fatal(err)
		}
		return readStatus(t, conn) // it has its place
	}
	for i := range maxOwnUploads {
		if got := slow(1); got != 100 {
			t.Fatalf("slow upload %d: %d; want it to continue", i+1, got)
		}
	}
	if got := d.put(t, "a.mp4", uploadTestToken, strings.NewReader("a video")); got != 503 {
		t.Errorf("one more from the same address: %d; want 503", got)
	}
	if got := slow(2); got != 100 {
		t.Errorf("one from another address: %d; want it to continue", got)
	}
	if got := d.put(t, "a.mp4", "", strings.NewReader("a video")); got != 201 {
		t.Errorf("one on the control socket: %d; want 201", got)
	}
}

// An upload that is under way when the daemon ends hears so: a worker sends it
// again, and does not take it for refused.
func TestUploadWhileStopping(t *testing.T) {
	d := start(t)
	conn := d.dialFrom(t, 1)
	_, err := fmt.Fprintf(conn, "PUT /api/v1/media/a.mp4 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", uploadTestToken)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); !strings.Contains(line, " 100 ") {
		t.Fatalf("answered %q, %v; want to continue", line, err)
	}
	d.stop()
	answer, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(answer), "HTTP/1.1 503 ") || !strings.Contains(string(answer), "pibootd is stopping") {
		t.Errorf("answered %q, %v; want 503 because it is stopping", answer, err)
	}
}

// What a daemon that was killed had not finished goes when the next one starts.
func TestUnfinishedUploadsAreSwept(t *testing.T) {
	media := t.TempDir()
	write(t, filepath.Join(media, uploadDir, "x.part"), "half a video")
	s := &Server{Info: Info{MediaDir: media}, Log: slog.New(slog.DiscardHandler)}
	s.sweepUploads()
	daemon{media: media}.wantNoTemps(t)
}

// Nothing that another has put where uploads go is written to.
func TestUploadDirIsOurs(t *testing.T) {
	d := start(t)
	if got := d.put(t, "first.mp4", "", strings.NewReader("a video")); got != 201 { // so the start's sweep is over
		t.Fatalf("an upload: %d; want 201", got)
	}
	dir, other := filepath.Join(d.media, uploadDir), filepath.Join(d.media, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, put := range map[string]func() error{
		"a link":                    func() error { return os.Symlink("other", dir) },
		"a file":                    func() error { return os.WriteFile(dir, nil, 0o600) },
		"another's directory":       func() error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)) },
		"a directory for everybody": func() error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
	} {
		if err := errors.Join(os.RemoveAll(dir), put()); err != nil {
			t.Fatal(err)
		}
		if got := d.put(t, "a.mp4", "", strings.NewReader("a video")); got != 500 {
			t.Errorf("%s: answered %d; want 500", what, got)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v are there; want nothing", what, left, err)
		}
	}
	if left, err := os.ReadDir(other); err != nil || len(left) > 0 {
		t.Errorf("%s has %v, %v; want nothing", other, left, err)
	}
}
