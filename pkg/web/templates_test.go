package web

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/operation"
)

const testTemplate = `{"name":"minimal","version":1,"arch":"arm64","os":"Debian","kernels":null,"boot_dir":"","size_bytes":1,"files":1,"created":"2026-11-30T09:00:00Z"}`

func (d daemon) putTemplate(t *testing.T, ref string) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(d.media), "templates", strings.Replace(ref, "@", "/", 1))
	write(t, filepath.Join(dir, "template.json"), strings.Replace(testTemplate, `"version":1`, `"version":`+ref[strings.Index(ref, "@")+1:], 1))
	if err := os.MkdirAll(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// wantRefused makes sure that an error is a refusal with this status about this field.
func wantRefused(t *testing.T, err error, status int, field string) {
	t.Helper()
	var refused Refusal
	if !errors.As(err, &refused) || refused.Status != status || refused.Problem.Field != field {
		t.Errorf("refused with %+v; want %d about %q", err, status, field)
	}
}

// Templates are listed with their users, and removed unless they have some.
func TestTemplates(t *testing.T) {
	d := start(t)
	d.putTemplate(t, "minimal@1")
	d.putTemplate(t, "minimal@2")
	all, err := d.client.Templates(t.Context())
	if err != nil || len(all) != 2 || strings.Join(all[0].Users, " ") != "hlspi1" || len(all[1].Users) != 0 {
		t.Fatalf("Templates = %+v, %v; want the first one used by hlspi1", all, err)
	}
	_, err = d.client.RemoveTemplate(t.Context(), "minimal@1")
	wantRefused(t, err, http.StatusConflict, "")
	_, err = d.client.RemoveTemplate(t.Context(), "minimal")
	wantRefused(t, err, http.StatusBadRequest, "template")
	if _, err := d.client.RemoveTemplate(t.Context(), "minimal@2"); err != nil {
		t.Error(err)
	}
	_, err = get[Template](t.Context(), d.client, "/api/v1/templates/minimal@2")
	wantRefused(t, err, http.StatusNotFound, "")
}

// A wrong order is refused at once, and one that cannot be made says why, and is
// forgotten when that was read.
func TestMakeTemplate(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "os.img"), "an image")
	for field, wrong := range map[string]NewTemplate{
		"name":    {Name: "Not A Name", Recipe: operation.Minimal},
		"recipe":  {Name: "x", Recipe: "guess"},
		"arch":    {Name: "x", Recipe: operation.Debian, Arch: "mips"},
		"release": {Name: "x", Recipe: operation.Minimal, Mirror: "a b"},
		"path":    {Name: "x", Recipe: operation.Import, Path: "../etc/shadow"},
		"upload":  {Name: "x", Recipe: operation.Import, Upload: "NOTHERE"},
		"board":   {Name: "x", Recipe: operation.FromPi, Board: "nobody"},
	} {
		_, err := d.client.MakeTemplate(t.Context(), wrong)
		wantRefused(t, err, http.StatusBadRequest, field)
	}
	op, err := d.client.MakeTemplate(t.Context(), NewTemplate{Name: "mine", Recipe: operation.Import, Path: "os.img"})
	if err != nil || op.Name != "mine" || op.Source != "os.img" {
		t.Fatalf("MakeTemplate = %+v, %v", op, err)
	}
	for !op.State.Ended() && pause.For(t.Context(), 10*time.Millisecond) {
		if op, err = d.client.Operation(t.Context(), op.ID); err != nil {
			t.Fatal(err)
		}
	}
	if op.State != operation.Failed || !strings.Contains(op.Error, "no process makes templates here") {
		t.Errorf("operation = %+v; want it failed, with the reason", op)
	}
	if _, err := d.client.CancelOperation(t.Context(), op.ID); err != nil {
		t.Error(err)
	}
	_, err = d.client.Operation(t.Context(), op.ID)
	wantRefused(t, err, http.StatusNotFound, "")
}

// The root of a board becomes a template.
func TestTemplateFromPi(t *testing.T) {
	d := start(t)
	wanted := NewTemplate{Name: "mine", Recipe: operation.FromPi, Board: "hlspi1"}
	op, err := d.client.MakeTemplate(t.Context(), wanted)
	if err != nil || op.Source != "hlspi1" || op.Recipe != operation.FromPi {
		t.Fatalf("MakeTemplate = %+v, %v; want it of hlspi1", op, err)
	}
}

// An image for a template is uploaded by an admin alone, outside of the media share,
// and is found by its number once it is complete.
func TestUploadOfAnImage(t *testing.T) {
	d := start(t)
	meta := "filename " + base64.StdEncoding.EncodeToString([]byte("os.img")) + ",purpose " + base64.StdEncoding.EncodeToString([]byte(forTemplate))
	create := func(token string) *http.Response {
		return d.tus(t, token).do("POST", "/api/v1/uploads", nil, "Upload-Length", "8", "Upload-Metadata", meta)
	}
	if answer := create(uploadTestToken); answer.StatusCode != http.StatusForbidden {
		t.Errorf("by the upload token: %s; want 403", answer.Status)
	}
	admin, err := d.client.AddToken(t.Context(), NewToken{Name: "a", Scope: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	answer := create(admin.Secret)
	id := strings.TrimPrefix(answer.Header.Get("Location"), tusPath)
	wanted := NewTemplate{Name: "mine", Recipe: operation.Import, Upload: id}
	_, err = d.client.MakeTemplate(t.Context(), wanted)
	wantRefused(t, err, http.StatusConflict, "upload")
	answer = d.tus(t, admin.Secret).patch(tusPath+id, 0, strings.NewReader("an image"))
	if answer.StatusCode != http.StatusNoContent {
		t.Fatalf("PATCH: %s", answer.Status)
	}
	if op, err := d.client.MakeTemplate(t.Context(), wanted); err != nil || op.Source != "os.img" {
		t.Errorf("MakeTemplate = %+v, %v; want it of os.img", op, err)
	}
	if _, err := os.Stat(filepath.Join(d.media, "os.img")); err == nil {
		t.Error("the image is in the media share, where boards read it")
	}
	pending, err := get[[]Pending](t.Context(), d.client, "/api/v1/uploads")
	if err != nil || len(pending) != 1 || pending[0].Purpose != forTemplate || pending[0].Offset != 8 {
		t.Errorf("uploads = %+v, %v; want the image, complete", pending, err)
	}
}
