package web

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pibootd/pkg/access"
)

// A tusClient makes the requests of the tus protocol with a token.
type tusClient struct {
	t     *testing.T
	base  string
	token string
}

func (d daemon) tus(t *testing.T, token string) tusClient {
	return tusClient{t, "http://" + d.public, token}
}

// do makes a request with headers, given as name, value, ….
func (c tusClient) do(method, path string, body io.Reader, header ...string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		if body != nil && errors.Is(err, errBroken) {
			return nil
		}
		c.t.Fatal(err)
	}
	response.Body.Close()
	return response
}

func (c tusClient) create(name string, size int) *http.Response {
	c.t.Helper()
	return c.do("POST", "/api/v1/uploads", nil, "Upload-Length", strconv.Itoa(size), "Upload-Metadata", "filetype dmlkZW8=, filename "+base64.StdEncoding.EncodeToString([]byte(name)))
}

// mustCreate starts an upload and returns its address.
func (c tusClient) mustCreate(name string, size int) string {
	c.t.Helper()
	response := c.create(name, size)
	if response.StatusCode != 201 || response.Header.Get("Upload-Expires") == "" || response.Header.Get("Tus-Resumable") != "1.0.0" {
		c.t.Fatalf("creation of %s: %s, %v", name, response.Status, response.Header)
	}
	return response.Header.Get("Location")
}

func (c tusClient) patch(at string, offset int, body io.Reader) *http.Response {
	c.t.Helper()
	return c.do("PATCH", at, body, "Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(offset))
}

// offset returns how far an upload is, -1 if there is none.
func (c tusClient) offset(at string) int {
	c.t.Helper()
	response := c.do("HEAD", at, nil)
	if response.StatusCode == 404 {
		return -1
	}
	offset, err := strconv.Atoi(response.Header.Get("Upload-Offset"))
	if response.StatusCode != 200 || err != nil {
		c.t.Fatalf("HEAD %s: %s, %v", at, response.Status, response.Header)
	}
	return offset
}

var errBroken = errors.New("the cable is broken")

// An upload is resumed after a lost connection and after a restart of the daemon,
// and appears in the share whole, with its last byte.
func TestUploadIsResumed(t *testing.T) {
	dir := t.TempDir()
	d := startIn(t, dir, func(*Server, *Listeners) {})
	film := bytes.Repeat([]byte("a film "), 1<<10)
	c := d.tus(t, uploadTestToken)
	at := c.mustCreate("uploads/a <b>film</b>.mp4", len(film))
	third := len(film) / 3
	if response := c.patch(at, 0, bytes.NewReader(film[:third])); response.StatusCode != 204 || response.Header.Get("Upload-Offset") != strconv.Itoa(third) {
		t.Fatalf("the first part: %s, %v", response.Status, response.Header)
	}
	if response := c.patch(at, third-1, bytes.NewReader(film)); response.StatusCode != 409 {
		t.Errorf("a part at a wrong offset: %s; want 409", response.Status)
	}
	c.patch(at, third, io.MultiReader(bytes.NewReader(film[third:third+1000]), iotest.ErrReader(errBroken)))
	got := c.offset(at)
	if got < third || got > third+1000 {
		t.Errorf("after a lost connection the offset is %d; want %d to %d", got, third, third+1000)
	}
	d.end()

	d = startIn(t, dir, func(*Server, *Listeners) {})
	c = d.tus(t, uploadTestToken)
	if after := c.offset(at); after != got {
		t.Fatalf("after a restart the offset is %d; want %d", after, got)
	}
	if _, err := os.Stat(filepath.Join(d.media, "uploads/a <b>film</b>.mp4")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a film is in the share: %v", err)
	}
	if response := c.patch(at, got, bytes.NewReader(film[got:])); response.StatusCode != 204 {
		t.Fatalf("the rest: %s", response.Status)
	}
	d.wantFile(t, "uploads/a <b>film</b>.mp4", string(film))
	if end := c.offset(at); end != len(film) {
		t.Errorf("the offset at the end is %d; want %d, for a client that has missed the answer", end, len(film))
	}
	if response := c.do("DELETE", at, nil); response.StatusCode != 204 || c.offset(at) != -1 {
		t.Errorf("DELETE: %s", response.Status)
	}
	d.wantFile(t, "uploads/a <b>film</b>.mp4", string(film))
}

// A client whose old connection still hangs takes over its upload.
func TestUploadIsTakenOver(t *testing.T) {
	d := start(t)
	c := d.tus(t, uploadTestToken)
	at := c.mustCreate("a.mp4", 10)
	half, more := io.Pipe()
	hanging := make(chan int)
	go func() { hanging <- c.patch(at, 0, half).StatusCode }()
	if _, err := io.WriteString(more, "12345"); err != nil {
		t.Fatal(err)
	}
	for arrived := false; !arrived; { // until the request hangs
		_, _, text := d.ask(t, "GET", "/api/v1/uploads", uploadTestToken, "")
		arrived = strings.Contains(text, `"offset":5`)
	}
	offset := c.offset(at) // ends it
	if status := <-hanging; status < 400 {
		t.Errorf("the request that was replaced is answered %d", status)
	}
	more.Close()
	if response := c.patch(at, offset, strings.NewReader("1234567890"[offset:])); response.StatusCode != 204 {
		t.Errorf("the rest: %s", response.Status)
	}
	d.wantFile(t, "a.mp4", "1234567890")
}

// What is wrong with a resumable upload is refused, with the status that the
// protocol names.
func TestUploadIsNotStarted(t *testing.T) {
	d := start(t)
	c := d.tus(t, uploadTestToken)
	write(t, filepath.Join(d.media, "there.mp4"), "a video")
	for _, tt := range []struct {
		name string
		size int
		want int
	}{
		{"there.mp4", 10, 409}, {"a.mp4", 0, 400}, {"a.mp4", -1, 400}, {"a.mp4", uploadTestMax + 1, 413}, {"../a.mp4", 10, 400}, {".work/a", 10, 400}, {"hls/a", 10, 400}, {"", 10, 400},
	} {
		if response := c.create(tt.name, tt.size); response.StatusCode != tt.want {
			t.Errorf("%s of %d bytes: %s; want %d", tt.name, tt.size, response.Status, tt.want)
		}
	}
	at := c.mustCreate("a.mp4", 10)
	for _, tt := range []struct {
		header []string
		body   string
		want   int
	}{
		{[]string{"Tus-Resumable", "0.2.2", "Content-Type", tusType, "Upload-Offset", "0"}, "x", 412},
		{[]string{"Content-Type", "text/plain", "Upload-Offset", "0"}, "x", 415},
		{[]string{"Content-Type", tusType}, "x", 400},
		{[]string{"Content-Type", tusType, "Upload-Offset", "-1"}, "x", 400},
		{[]string{"Content-Type", tusType, "Upload-Offset", "1"}, "x", 409},
		{[]string{"Content-Type", tusType, "Upload-Offset", "0"}, "12345678901", 413},
	} {
		if response := c.do("PATCH", at, strings.NewReader(tt.body), tt.header...); response.StatusCode != tt.want {
			t.Errorf("PATCH with %q: %s; want %d", tt.header, response.Status, tt.want)
		}
	}
	for _, id := range []string{"nothing", strings.Repeat("A", 26), "%2e%2e%2f%2e%2e%2fthere.mp4"} {
		if offset := c.offset(tusPath + id); offset != -1 {
			t.Errorf("HEAD of %s has the offset %d", id, offset)
		}
	}
}

// Uploads do not replace what has come meanwhile, and the upload stays until its
// user ends it.
func TestUploadFindsItsNameTaken(t *testing.T) {
	d := start(t)
	c := d.tus(t, uploadTestToken)
	at := c.mustCreate("a.mp4", 5)
	write(t, filepath.Join(d.media, "a.mp4"), "another")
	if response := c.patch(at, 0, strings.NewReader("12345")); response.StatusCode != 409 {
		t.Errorf("the last part: %s; want 409", response.Status)
	}
	d.wantFile(t, "a.mp4", "another")
	if response := c.do("DELETE", at, nil); response.StatusCode != 204 {
		t.Errorf("DELETE: %s", response.Status)
	}
}

// Nobody continues, sees or ends the upload of another user, but an admin does.
func TestUploadsAreOnesOwn(t *testing.T) {
	d := start(t)
	at := d.tus(t, uploadTestToken).mustCreate("a.mp4", 5)
	secrets := map[access.Scope]string{}
	for _, scope := range []access.Scope{access.Submit, access.Admin} {
		added, err := d.client.AddToken(t.Context(), NewToken{Name: "the-" + string(scope), Scope: scope})
		if err != nil {
			t.Fatal(err)
		}
		secrets[scope] = added.Secret
	}
	other := d.tus(t, secrets[access.Submit])
	if offset := other.offset(at); offset != -1 {
		t.Errorf("another user sees the offset %d", offset)
	}
	for _, response := range []*http.Response{other.patch(at, 0, strings.NewReader("12345")), other.do("DELETE", at, nil)} {
		if response.StatusCode != 404 {
			t.Errorf("%s by another user: %s; want 404", response.Request.Method, response.Status)
		}
	}
	for secret, want := range map[string]bool{uploadTestToken: true, secrets[access.Submit]: false, secrets[access.Admin]: true} {
		if _, _, text := d.ask(t, "GET", "/api/v1/uploads", secret, ""); strings.Contains(text, `"path":"a.mp4"`) != want {
			t.Errorf("a list has the upload: %v; want %v: %s", !want, want, text)
		}
	}
}

// A user has so many resumable uploads, and each reserves its space.
func TestUploadsAreBounded(t *testing.T) {
	d := start(t)
	c := d.tus(t, uploadTestToken)
	for i := range maxOwnResumable {
		c.mustCreate(fmt.Sprintf("%d.mp4", i), 1000)
	}
	if response := c.create("more.mp4", 1000); response.StatusCode != 503 {
		t.Errorf("one upload more: %s; want 503", response.Status)
	}
	root, err := os.OpenRoot(d.media)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	u := resumables{dir: d.media, max: 1 << 62}
	all, err := u.list(root)
	if err != nil || len(all) != maxOwnResumable {
		t.Fatalf("list = %d, %v; want %d", len(all), err, maxOwnResumable)
	}
	if missing := unreserved(root, all); missing < 0 || missing > maxOwnResumable*1000 {
		t.Errorf("the uploads need %d bytes more", missing)
	}
	if err := u.admit(root, "somebody", 1<<60); statusOf(err) != 507 {
		t.Errorf("an upload larger than the disk: %v; want 507", err)
	}
}

// A sweep removes what has expired, and what is no upload, and leaves the others.
func TestUploadsExpire(t *testing.T) {
	d := start(t)
	c := d.tus(t, uploadTestToken)
	kept, old := c.mustCreate("kept.mp4", 5), c.mustCreate("old.mp4", 5)
	dir := filepath.Join(d.media, resumableDir)
	id := strings.TrimPrefix(old, tusPath)
	long := time.Now().Add(-resumableLasts - time.Minute)
	if err := os.Chtimes(filepath.Join(dir, id+".part"), long, long); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"x": "x", "A.part": "", id + ".json.new": "{", strings.Repeat("A", 26) + ".json": `{"id":"../../x"}`} {
		write(t, filepath.Join(dir, name), text)
	}
	write(t, filepath.Join(dir, "directory/file"), "x")
	root, err := os.OpenRoot(d.media)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := (&resumables{dir: d.media}).sweep(root, time.Now()); err != nil {
		t.Fatal(err)
	}
	if c.offset(kept) != 0 || c.offset(old) != -1 {
		t.Error("the sweep removed the wrong upload")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v; want the part and its description", left, err)
	}
}
