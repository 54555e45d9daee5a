package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// A refusedRequest is one that is not done, on the control socket unless it is
// public.
type refusedRequest struct {
	public       bool
	method, path string
	body         string
	status       int
	field        string
	says         string
}

const (
	aBoard = `"mac":"dc:a6:32:01:02:03","serial":"00000007"`
	newPi  = "/api/v1/pis"
	onePi  = "/api/v1/pis/hlspi1"
	oneJob = "/api/v1/jobs/1"
)

// Whatever is wrong, the answer says so in the same form, with the same status
// for the same reason, and names the field if it is a single one.
func TestRefusals(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	write(t, filepath.Join(filepath.Dir(d.media), "templates/minimal/1/template.json"), `{"name":"minimal","version":1,"arch":"arm64"}`)
	if _, err := d.client.Submit(t.Context(), transcode.Request{Source: "a.mp4"}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.AddMachine(t.Context(), NewMachine{Name: "desk-pc"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range slices.Concat(noSuchRoutes, noSuchThings, wrongFields, conflicts) {
		d.wantRefusal(t, tt)
	}
}

var noSuchRoutes = []refusedRequest{
	{true, "GET", "/api/", "", 404, "", `there is no "/api/"`},
	{true, "GET", "/api/v1/nothing", "", 404, "", "/api/v1/nothing"},
	{true, "GET", "/api/v2/pis", "", 404, "", "/api/v2/pis"},
	{true, "GET", "/api/v1/pis/a/b/c", "", 404, "", "there is no"},
	{true, "GET", "/worker/v1/nothing", "", 404, "", "/worker/v1/nothing"},
	{true, "POST", "/api/v1/pis", "{}", 401, "", "needs a login, or a token"},
	{true, "DELETE", onePi, "", 401, "", "needs a login, or a token"},
	{true, "PATCH", oneJob, "{}", 401, "", "needs a login, or a token"},
	{true, "PUT", oneJob, "{}", 405, "", "want DELETE, GET, HEAD, PATCH"},
	{true, "DELETE", ProgramPath + "amd64", "", 405, "", "want GET, HEAD"},
	{false, "POST", "/api/v1/info", "{}", 405, "", "want GET, HEAD"},
	{false, "PUT", "/api/v1/jobs", "{}", 405, "", "want GET, HEAD, POST"},
	{false, "GET", "/api/v1/nothing", "", 404, "", "/api/v1/nothing"},
	{true, "POST", "/api/v1/jobs", "{}", 401, "", "needs a login, or a token"},
	{true, "PUT", "/api/v1/media/a.mp4", "x", 401, "", "needs a login, or a token"},
}

var noSuchThings = []refusedRequest{
	{true, "GET", "/api/v1/pis/nosuch", "", 404, "", "nosuch"},
	{false, "GET", "/api/v1/pis/nosuch", "", 404, "", "nosuch"},
	{false, "DELETE", "/api/v1/pis/nosuch", "", 404, "", "nosuch"},
	{false, "PATCH", "/api/v1/pis/nosuch", "{}", 404, "", "nosuch"},
	{false, "PATCH", "/api/v1/pis/nosuch", `{"ip":"10.9.0.5"}`, 404, "", "nosuch"},
	{false, "POST", "/api/v1/pis/nosuch/root", "{}", 404, "", "nosuch"},
	{false, "POST", "/api/v1/pis/nosuch/root", `{"force":true}`, 404, "", "nosuch"},
	{false, "POST", onePi + "/root", `{"rollback":true,"kept":"nosuch"}`, 404, "kept", "hlspi1|3333347a"},
	{false, "GET", "/api/v1/pis/nosuch/drift", "", 404, "", "nosuch"},
	{false, "GET", "/api/v1/pis/nosuch/kept", "", 404, "", "nosuch"},
	{false, "DELETE", "/api/v1/pis/nosuch/kept/x", "", 404, "", "nosuch"},
	{false, "DELETE", onePi + "/kept/nosuch", "", 404, "name", "3333347a"},
	{false, "PUT", "/api/v1/pis/nosuch/drain", "", 404, "", "nosuch"},
	{false, "DELETE", "/api/v1/pis/nosuch/drain", "", 404, "", "nosuch"},
	{false, "GET", "/api/v1/doctor?board=nosuch", "", 404, "", "nosuch"},
	{true, "GET", "/api/v1/events?board=nosuch", "", 404, "board", "nosuch"},
	{true, "GET", "/api/v1/workers/nosuch", "", 404, "", "nosuch"},
	{false, "PATCH", "/api/v1/workers/nosuch", "{}", 404, "", "nosuch"},
	{false, "DELETE", "/api/v1/workers/nosuch", "", 404, "", "nosuch"},
	{true, "GET", "/api/v1/jobs/77", "", 404, "", "77"},
	{true, "GET", "/api/v1/jobs/77/watch", "", 404, "", "77"},
	{false, "PATCH", "/api/v1/jobs/77", "{}", 404, "", "77"},
	{false, "DELETE", "/api/v1/jobs/77", "", 404, "", "77"},
	{false, "DELETE", "/api/v1/jobs/77?remove=true", "", 404, "", "77"},
	{false, "POST", "/api/v1/jobs/77/retry", "", 404, "", "77"},
	{true, "GET", ProgramPath + "mips", "", 404, "arch", "mips"},
}

var wrongFields = []refusedRequest{
	{true, "GET", "/api/v1/jobs/x", "", 400, "id", `"x"`},
	{true, "GET", "/api/v1/jobs/0/watch", "", 400, "id", `"0"`},
	{false, "POST", "/api/v1/jobs/-1/retry", "", 400, "id", `"-1"`},
	{false, "DELETE", oneJob + "?remove=maybe", "", 400, "remove", "maybe"},
	{false, "DELETE", onePi + "?keep_root=maybe", "", 400, "keep_root", "maybe"},
	{false, "POST", "/api/v1/jobs?force=maybe", `{"source":"a.mp4"}`, 400, "force", "maybe"},
	{true, "GET", "/api/v1/events?after=x", "", 400, "after", `"x"`},
	{true, "GET", "/api/v1/events?follow=maybe", "", 400, "follow", "maybe"},

	{false, "POST", newPi, "", 400, "", "ends too early"},
	{false, "POST", newPi, "{", 400, "", "ends too early"},
	{false, "POST", newPi, "{}{}", 400, "", "want one JSON value"},
	{false, "POST", newPi, "[]", 400, "", "want an object"},
	{false, "POST", "/api/v1/jobs", "{\"source\":\"\xff.mp4\"}", 400, "source", "not UTF-8"},
	{false, "POST", newPi, `{"sauce":1}`, 400, "sauce", `no field "sauce"`},
	{false, "POST", newPi, `{"settings":{"sauce":1}}`, 400, "sauce", `no field "sauce"`},
	{false, "POST", newPi, `{"mac":"x"}`, 400, "mac", "not an Ethernet address"},
	{false, "POST", newPi, `{"mac":7}`, 400, "mac", ""},
	{false, "POST", newPi, `{"serial":"x","name":"a"}`, 400, "serial", "not a serial number"},
	{false, "POST", newPi, `{"mac":"x","serial":"x"}`, 400, "", ""},
	{false, "POST", newPi, `{"ip":"1.2.3"}`, 400, "ip", ""},
	{false, "POST", newPi, `{"settings":{"gpu_mem":"x"}}`, 400, "gpu_mem", "want a whole number"},
	{false, "POST", newPi, `{"settings":{"hw_decode":"x"}}`, 400, "hw_decode", "want true or false"},
	{false, "POST", newPi, `{"settings":{"args":7}}`, 400, "args", "want a list"},
	{false, "POST", newPi, `{"mac":"b8:27:eb:01:02:03","serial":"00000007"}`, 400, "", "not of one board"},
	{false, "POST", newPi, `{` + aBoard + `,"template":"nosuch"}`, 400, "template", "nosuch"},
	{false, "POST", newPi, `{` + aBoard + `,"template":"minimal@x"}`, 400, "template", "not a number"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"192.168.1.1"}`, 400, "ip", "cannot be a board's address"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.255"}`, 400, "ip", "broadcast"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","name":"A_b"}`, 400, "name", "not a host name"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","clone":"magic"}`, 400, "clone", "magic"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","settings":{"gpu_mem":1}}`, 400, "gpu_mem", "want 16 to 512"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","settings":{"labels":["A","B"]}}`, 400, "labels", `label "A"`},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","settings":{"args":["root=x"]}}`, 400, "args", "root"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","settings":{"config":["gpu_mem=1"]}}`, 400, "config", "--gpu-mem"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","name":"A_b","settings":{"gpu_mem":1}}`, 400, "", "not a host name"},
	{false, "PATCH", onePi, `{"weight":7}`, 400, "weight", "want 0.01 to 1"},
	{false, "PATCH", onePi, `{"mux_id":-1}`, 400, "mux_id", "muxer id -1"},
	{false, "PATCH", onePi, `{"boot_menu":"x"}`, 400, "boot_menu", "want one of"},
	{false, "PATCH", onePi, `{"durable":"often"}`, 400, "durable", "want strict or relaxed"},
	{false, "PATCH", onePi, `{"name":"a.b"}`, 400, "name", "not a host name"},
	{false, "PATCH", onePi, `{"ip":"10.10.0.1"}`, 400, "ip", "cannot be a board's address"},
	{false, "POST", onePi + "/root", `{"template":"nosuch"}`, 400, "template", "nosuch"},
	{false, "POST", onePi + "/root", `{"template":"minimal","clone":"magic"}`, 400, "clone", "magic"},

	{false, "POST", "/api/v1/jobs", `{"source":"nosuch.mp4"}`, 400, "source", "nosuch.mp4"},
	{false, "POST", "/api/v1/jobs", `{"source":"../a"}`, 400, "source", "not a path in the media share"},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","format":"gif"}`, 400, "format", "gif"},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","segments":"x"}`, 400, "segments", "ts or cmaf"},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","segment_seconds":1000}`, 400, "segment_seconds", "1000"},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","rungs":[{"lines":1}]}`, 400, "rungs", "rung of 1 lines"},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","format":"mp4","options":["-i","x"]}`, 400, "options", "-i"},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","labels":["A"]}`, 400, "labels", `label "A"`},
	{false, "POST", "/api/v1/jobs", `{"source":"a.mp4","codec":"h265","segments":"ts"}`, 400, "", "players do not take"},
	{false, "PATCH", oneJob, `{"priority":"highest"}`, 400, "priority", "highest"},
	{false, "PATCH", oneJob, `{"paused":1}`, 400, "paused", "want true or false"},

	{false, "POST", "/api/v1/workers", `{"name":"a.b"}`, 400, "name", "not a host name"},
	{false, "POST", "/api/v1/workers", `{"name":"a","weight":2}`, 400, "weight", "0.01"},
	{false, "PATCH", "/api/v1/workers/desk-pc", `{"labels":["A"]}`, 400, "labels", `label "A"`},
	{false, "PUT", "/api/v1/media/.hidden", "x", 400, "name", "cannot name a file"},
	{false, "PUT", "/api/v1/media/b.mp4?check=x", "", 400, "check", "size of the file"},
	{false, "PUT", "/api/v1/media/b.mp4", "", 400, "", "empty"},
	{false, "PUT", "/api/v1/media/b.mp4?check=9999999999", "", 413, "", "http.upload_max_gb"},
}

var conflicts = []refusedRequest{
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.192"}`, 409, "ip", "belongs to hlspi1"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","name":"hlspi1"}`, 409, "name", "hlspi1"},
	{false, "POST", newPi, `{` + aBoard + `,"ip":"10.9.0.5","name":"desk-pc"}`, 409, "name", "no board"},
	{false, "POST", newPi, `{"mac":"b8:27:eb:33:34:7a","serial":"1133347a","ip":"10.9.0.5"}`, 409, "mac", "belongs to hlspi1"},
	{false, "POST", newPi, `{"mac":"b8:27:eb:33:34:7a","serial":"3333347a","name":"other"}`, 409, "", "edit-pi hlspi1"},
	{false, "POST", newPi, `{` + aBoard + `}`, 409, "", "are taken"},
	{false, "PATCH", onePi, `{"name":"desk-pc"}`, 409, "name", "desk-pc"},
	{false, "DELETE", oneJob + "?remove=true", "", 409, "", "only a job that is done"},
	{false, "POST", oneJob + "/retry", "", 409, "", "only a failed or cancelled"},
	{false, "POST", "/api/v1/workers", `{"name":"desk-pc"}`, 409, "name", "remove-worker desk-pc"},
	{false, "POST", "/api/v1/workers", `{"name":"hlspi1"}`, 409, "name", "belongs to the board"},
	{false, "PUT", "/api/v1/media/a.mp4", "x", 409, "name", "file of this name"},
	{false, "PUT", "/api/v1/media/a.mp4/b.mp4", "x", 409, "name", ""},
}

func (d daemon) wantRefusal(t *testing.T, want refusedRequest) {
	t.Helper()
	what := fmt.Sprintf("%s %s %s", want.method, want.path, want.body)
	request, err := http.NewRequestWithContext(t.Context(), want.method, "http://"+d.public+want.path, strings.NewReader(want.body))
	if err != nil {
		t.Fatal(err)
	}
	client := http.DefaultClient
	if !want.public {
		client = &d.client.http
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got Problem
	err = strictly(text, &got)
	says := slices.ContainsFunc(strings.Split(want.says, "|"), func(s string) bool { return strings.Contains(got.Error, s) })
	if response.StatusCode != want.status || err != nil || got.Error == "" || got.Field != want.field || !says || strings.Contains(got.Error, "Go ") {
		t.Errorf("%s: %d %s; want %d, field %q, and %q", what, response.StatusCode, text, want.status, want.field, want.says)
	}
	if allow := response.Header.Get("Allow"); (response.StatusCode == 405) != (allow != "") {
		t.Errorf("%s: Allow: %q with %d", what, allow, response.StatusCode)
	}
	if kind := response.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("%s: %s; want application/json", what, kind)
	}
}

func TestStatusOf(t *testing.T) {
	field := pi.InvalidField("a", io.ErrUnexpectedEOF)
	for _, tt := range []struct {
		err    error
		status int
		field  string
	}{
		{errors.New("trouble"), 500, ""},
		{fmt.Errorf("a: %w", registry.ErrUnknown), 404, ""},
		{fmt.Errorf("a: %w", registry.ErrNoMachine), 404, ""},
		{fmt.Errorf("a: %w", rootfs.ErrNoTemplate), 404, ""},
		{pi.InvalidField("template", rootfs.ErrNoTemplate), 400, "template"},
		{fmt.Errorf("a: %w", queue.ErrNoJob), 404, ""},
		{fmt.Errorf("a: %w", queue.ErrState), 409, ""},
		{fmt.Errorf("a: %w", field), 400, "a"},
		{errors.Join(field, pi.InvalidField("a", io.EOF)), 400, "a"},
		{errors.Join(field, pi.InvalidField("b", io.EOF)), 400, ""},
		{errors.Join(pi.Conflicting("b", io.EOF), field), 400, ""},
		{pi.Conflicting("", field), 409, ""},
		{busyError{"busy"}, 503, ""},
		{fmt.Errorf("a: %w", os.ErrDeadlineExceeded), 408, ""},
		{&os.PathError{Err: syscall.ENOSPC}, 507, ""},
		{fmt.Errorf("a: %w", context.Canceled), 503, ""},
		{statusError{field, 421}, 421, "a"},
		{fs404(), 500, ""},
	} {
		if status, field := statusOf(tt.err), fieldOf(tt.err); status != tt.status || field != tt.field {
			t.Errorf("%v: %d, field %q; want %d, %q", tt.err, status, field, tt.status, tt.field)
		}
	}
}

// fs404 is the error of a file of pibootd's own that is missing: trouble, and
// nothing that was asked for.
func fs404() error {
	_, err := os.Stat("/nowhere/at/all")
	return err
}

// The client tells what is wrong, with which field, also of what had begun.
func TestClientTellsField(t *testing.T) {
	d := start(t)
	_, err := d.client.EditPi(t.Context(), "hlspi1", fleet.Edit{Settings: registry.Settings{Labels: []string{"A"}}, Fields: []string{"labels"}})
	var refused Refusal
	if !errors.As(err, &refused) || refused.Status != 400 || refused.Problem.Field != "labels" {
		t.Errorf("EditPi = %#v; want a Refusal for its labels", err)
	}
	var last Step[fleet.Added]
	if err := json.Unmarshal([]byte(`{"error":"taken","field":"ip"}`), &last); err != nil || last.Field != "ip" || last.Error != "taken" {
		t.Errorf("the last step of what was refused is %+v, %v", last, err)
	}
}

// A body that cannot be decoded names a field that it has.
func FuzzWrongField(f *testing.F) {
	for _, tt := range wrongFields {
		f.Add([]byte(tt.body))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var request fleet.Request
		err := strictly(text, &request)
		if err == nil {
			return
		}
		if field := wrongField(text, &request, err); inJSON(err).Error() == "" || field != "" && !json.Valid(text) && !strings.Contains(string(text), "{") {
			t.Errorf("%q: field %q of what is no object", text, field)
		}
	})
}
