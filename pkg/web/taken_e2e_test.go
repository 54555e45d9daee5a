//go:build e2e

package web

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/web/browsertest"
)

// A video whose name the share has already is uploaded under another one, or that which is there
// is transcoded.
func TestUploadOfATakenName(t *testing.T) {
	s := &show{}
	s.open(t)
	write(t, filepath.Join(s.media, "uploads/film.mp4"), "another film")
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/session", "/api/v1/uploads"} // it is refused
	s.logIn(p)
	p.Go(s.url + "/submit")
	for _, answer := range []struct{ press, job string }{{"Upload as film-2.mp4", "uploads/film-2.mp4"}, {"Transcode that one", "uploads/film.mp4"}} {
		p.WaitFor(`document.querySelector(".drop")`)
		p.Do(`{
			const files = new DataTransfer();
			files.items.add(new File(["a film"], "film.mp4"));
			document.querySelector(".drop").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
		}`)
		press(p, "Upload and transcode")
		p.WaitFor(`document.querySelector(".upload")?.innerText.includes("The media share has a file uploads/film.mp4 already.")`)
		press(p, answer.press)
		p.WaitFor(`!document.querySelector(".upload")`)
		jobs, err := s.queue.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var sources []string
		for _, job := range jobs {
			sources = append(sources, job.Request.Source)
		}
		if !slices.Contains(sources, answer.job) {
			t.Errorf("%s: jobs of %q; want one of %s", answer.press, sources, answer.job)
		}
	}
}

// A video of the share is found in its directories.
func TestLookInTheShare(t *testing.T) {
	s := &show{}
	s.open(t)
	write(t, filepath.Join(s.media, "videos/season 1/first.mkv"), "a video")
	write(t, filepath.Join(s.media, "videos/season 1/second.mkv"), "a video")
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/"}
	s.logIn(p)
	p.Go(s.url + "/submit")
	press(p, "Look in the share")
	for _, name := range []string{"videos/", "season 1/", "second.mkv"} {
		p.WaitFor(`(file => file && (file.click(), true))([...document.querySelectorAll("dialog .file")].find(file => file.innerText.includes("` + name + `")))`)
	}
	p.WaitFor(`!document.querySelector("dialog") && [...document.querySelectorAll("#submit input")].some(input => input.value === "videos/season 1/second.mkv")`)
}

// The form of a live stream has what the command line has for one, and says where the server
// refuses it.
func TestFormOfALiveStream(t *testing.T) {
	s := &show{}
	s.open(t)
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/"}
	s.logIn(p)
	p.Go(s.url + "/streams#add")
	p.WaitFor(`document.querySelector("dialog form details [name=codec]")`)
	p.Do(`document.querySelector("dialog form").id = "submit"; document.querySelector("dialog input").name = "title"`)
	var got transcode.Request
	merge(t, &got, submitForm(p, map[string]string{
		"title": "show", "codec": "h265", "ladder": "author", "crf": "23", "max_fps": "25", "hdr": "sdr", "deinterlace": "field", "encoder": "libx265", "constant_bitrate": "on", "stretch": "on",
	}))
	var rungs transcode.Request
	merge(t, &rungs, submitForm(p, map[string]string{"title": "show", "rungs": "360:800k 180"}))
	want := transcode.Request{Name: "show", Labels: []string{}, Live: &transcode.Live{Listen: true}, Output: transcode.Output{
		Codec: "h265", Ladder: "author", CRF: 23, MaxFPS: 25, HDR: "sdr", Deinterlace: "field", Encoder: "libx265", Constant: true, Stretch: true,
	}}
	if !reflect.DeepEqual(got, want) {
		text, _ := json.Marshal(got)
		t.Errorf("the form asks for %s", text)
	}
	if want := []transcode.Rung{{Lines: 360, BitrateBPS: 800e3}, {Lines: 180}}; !slices.Equal(rungs.Rungs, want) {
		t.Errorf("rungs %+v; want %+v", rungs.Rungs, want)
	}
}
