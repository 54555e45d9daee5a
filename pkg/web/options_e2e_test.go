//go:build e2e

package web

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/transcode"
	"pibootd/pkg/web/browsertest"
)

// What is typed into each field of the form is in the request that the page sends. The
// form has a field for all that a request can ask for: a new option needs its line in
// ui/src/model/options.ts.
func TestFormHasAllOptions(t *testing.T) {
	s := &show{}
	s.open(t)
	write(t, s.media+"/film.mp4", "no video")
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/"}
	s.logIn(p)
	p.Go(s.url + "/submit?source=film.mp4")
	p.WaitFor(`document.querySelector("#submit [name=codec]")`)
	// Options that exclude each other are typed in one after the other.
	whole, parts := transcode.Request{Source: "film.mp4"}, []map[string]string{
		{
			"codec": "h265", "ladder": "author", "segments": "cmaf", "name": "a name", "crf": "23", "max_fps": "23.976", "hdr": "sdr", "deinterlace": "field",
			"more_codecs": "h264", "encoder": "libx265", "stretch": "on", "audio_codec": "mp3", "audio_bps": "192", "audio_tracks": "2 1", "omit_subtitles": "1, 3", "burn_subtitles": "de",
			"segment_seconds": "2.5", "playlist_name": "main", "segment_name": "part-", "segment_dir": "files", "url_prefix": "https://cdn.example/", "progressive": "on",
			"encrypted": "on", "key_uri": "https://keys.example/1", "key_name": "a.key", "key_every": "5", "dir": "films", "labels": "attic pi5", "mux_id": "7",
			"input_options": `-ss 60 -t "90"`, "options": `-tune animation -vf 'eq=contrast=1.1'`,
		},
		{"format": "mp4", "audio_langs": "de en", "two_pass": "on"},
		{"quality": "80"},
		{"rungs": "720:2500k 600x400:128k source:2M", "constant_bitrate": "on", "no_pictures": "", "sample_aes": "on", "segments": "cmaf"},
	}
	for _, fields := range parts {
		merge(t, &whole, submitForm(p, fields))
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[transcode.Request]()) {
		// pibootd finds the sidecars; a live stream has a request of its own.
		if !field.Anonymous && field.Name != "Sidecars" && field.Name != "Live" && reflect.ValueOf(whole).FieldByIndex(field.Index).IsZero() {
			t.Errorf("no field of the form makes %s in a request", field.Name)
		}
	}
	want := transcode.Request{Source: "film.mp4", Name: "a name", SegmentSeconds: 2.5, MuxID: 7, Labels: []string{"attic", "pi5"}, Output: transcode.Output{
		Format: "mp4", Container: "cmaf", Codec: "h265", Encoder: "libx265", Ladder: "author", Rungs: []transcode.Rung{{Lines: 720, BitrateBPS: 2500e3}, {Width: 600, Height: 400, BitrateBPS: 128e3}, {BitrateBPS: 2e6}},
		Stretch: true, Constant: true, CRF: 23, TwoPass: true, Quality: 80, AudioBPS: 192e3, Audio: "mp3", Encrypted: true, SampleAES: true, KeyURI: "https://keys.example/1", MoreCodecs: []transcode.Codec{"h264"},
		Naming:      transcode.Naming{Dir: "films", PlaylistName: "main", SegmentName: "part-", SegmentDir: "files", URLPrefix: "https://cdn.example/", KeyName: "a.key", KeyEvery: 5},
		AudioTracks: []int{2, 1}, AudioLangs: []string{"de", "en"}, OmitSubtitles: []int{1, 3}, MaxFPS: 23.976, HDR: "sdr", Deinterlace: "field", BurnSubtitles: "de", NoPictures: true, Progressive: true,
		InputOptions: []string{"-ss", "60", "-t", "90"}, Options: []string{"-tune", "animation", "-vf", "eq=contrast=1.1"},
	}}
	if diff := cmp.Diff(want, whole); diff != "" {
		t.Errorf("the form asks for what was not typed (-want +got):\n%s", diff)
	}
}

// The form of a job that is done again asks for the same as that job.
func TestFormOfAgain(t *testing.T) {
	s := &show{}
	s.open(t)
	write(t, s.media+"/film.mp4", "no video")
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/"}
	s.logIn(p)
	for _, o := range []transcode.Output{
		{Codec: "h265", Rungs: []transcode.Rung{{Lines: 720, BitrateBPS: 2500e3}, {Width: 600, Height: 400, BitrateBPS: 128500}, {BitrateBPS: 2e6}}, CRF: 30, MaxFPS: 23.976, AudioBPS: 192e3, AudioTracks: []int{2, 1}, OmitSubtitles: []int{3}, Encrypted: true, KeyURI: "https://keys.example/1", NoPictures: true, Progressive: true},
		{Quality: 85, Rungs: []transcode.Rung{{Lines: 720}, {Lines: 360}}},
		{Format: "mkv", Audio: "opus", Encoder: "libx264", TwoPass: true, AudioLangs: []string{"de", "en"}, BurnSubtitles: "und", Stretch: true, HDR: "sdr", InputOptions: []string{"-ss", "60"}, Naming: transcode.Naming{Dir: "films"}},
		{Format: "mp4", Options: []string{"-c:v", "libx264", "-metadata", "title=A film, \"quoted\"", "-metadata", `comment=it's "this"`}},
	} {
		job, _, err := s.queue.Submit(t.Context(), transcode.Request{Source: "film.mp4", Name: "one", Labels: []string{"attic"}, MuxID: 3, Output: o})
		if err != nil {
			t.Fatal(err)
		}
		p.Go(fmt.Sprintf("%s/submit?again=%d", s.url, job.ID))
		p.WaitFor(`document.querySelector("#submit [name=name]").value === "one"`)
		var again transcode.Request
		merge(t, &again, submitForm(p, nil))
		if again.Format == "" {
			job.Request.Format = ""
		}
		if diff := cmp.Diff(job.Request, again); diff != "" {
			t.Errorf("the form asks for something else (-want +got):\n%s", diff)
		}
	}
}

// submitForm fills fields of the form in, sends it, and returns the request. Then it
// empties these fields.
func submitForm(p *browsertest.Page, fields map[string]string) string {
	p.Helper()
	if fields == nil {
		fields = map[string]string{}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		p.Fatal(err)
	}
	return p.Text(fmt.Sprintf(`(async () => {
		const set = (name, value, back) => {
			const field = document.querySelector("#submit [name=" + name + "]");
			if (!field) throw new Error("the form has no field " + name);
			if (field.type === "checkbox") return field.click();
			const kind = field.tagName === "SELECT" ? HTMLSelectElement : HTMLInputElement;
			Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, back ? "" : value);
			field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input", {bubbles: true}));
		};
		const fields = Object.entries(%s), soon = () => new Promise(resolve => setTimeout(resolve));
		for (const [name, value] of fields) { set(name, value); await soon(); }
		if (!document.querySelector("#submit").checkValidity()) throw new Error("the browser refuses what is typed");
		const send = fetch, sent = new Promise(resolve => { window.fetch = (to, what) => { resolve(what.body); return Promise.reject(new Error("stopped")); }; });
		document.querySelector("#submit").requestSubmit();
		const body = await sent;
		window.fetch = send;
		await soon();
		for (const [name, value] of fields.reverse()) { set(name, value, true); await soon(); }
		return body;
	})()`, text))
}

// merge adds what a request has, which is in a JSON string.
func merge(t *testing.T, into *transcode.Request, quoted string) {
	t.Helper()
	var text string
	err := json.Unmarshal([]byte(quoted), &text)
	if err == nil {
		err = json.Unmarshal([]byte(text), into)
	}
	if err != nil {
		t.Fatalf("%.2000s: %v", quoted, err)
	}
}
