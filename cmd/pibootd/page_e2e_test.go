//go:build e2e

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web/browsertest"
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
	p.Expected = []string{"401", "/api/v1/session"} // nobody is logged in, and the wrong token is meant
	p.WaitFor(`document.querySelector(".home").innerText.includes("hlspi1") && document.querySelector(".home .status").innerText === "well"`)
	p.Do(`document.querySelector("a[href='/submit']").click()`)
	p.WaitFor(`document.querySelector(".drop")`)
	p.Do(fmt.Sprintf(`{
		const bytes = Uint8Array.from(atob(%q), c => c.charCodeAt(0)), files = new DataTransfer();
		files.items.add(new File([bytes], "a <b>film</b>.mp4"));
		document.querySelector(".drop").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
		window.give = async token => {
			const dialog = document.querySelector("dialog"), pause = () => new Promise(resolve => setTimeout(resolve, 100));
			[...dialog.querySelectorAll("button")].find(button => button.innerText === "Use a token")?.click();
			await pause();
			dialog.querySelector("input").value = token;
			dialog.querySelector("input").dispatchEvent(new InputEvent("input", {bubbles: true}));
			await pause();
			dialog.dataset.given = token;
			dialog.querySelector("form").requestSubmit();
			return true;
		};
	}`, base64.StdEncoding.EncodeToString(content)))
	p.WaitFor(`document.querySelector(".drop").innerText.includes("a <b>film</b>.mp4")`)
	p.Do(`{ const makes = document.querySelector("#submit select"); makes.value = "mp4"; makes.dispatchEvent(new Event("change", {bubbles: true})); }`)
	p.Do(`document.querySelector("#submit").requestSubmit()`)
	p.WaitFor(`document.querySelector("dialog")`)
	p.Value(`give("not the token")`)
	p.WaitFor(`document.querySelector("dialog") && !document.querySelector("dialog").dataset.given`)
	p.Value(`give("` + token + `")`)
	p.WaitFor(`document.querySelector(".notices").innerText.includes("is job 1")`)
	p.Do(`document.querySelector("nav a[href='/jobs']").click()`)
	p.WaitFor(`document.querySelector("#view .row.job .status").innerText === "done"`)
	if job, err := l.client.Job(t.Context(), 1); err != nil || job.State != queue.Done || job.Request.Source != "uploads/a <b>film</b>.mp4" {
		t.Errorf("job 1: %+v, %v; want the upload transcoded", job, err)
	}
	wantPlayed(p, 1)
	l.pibootd(t, "transcode", "uploads/a <b>film</b>.mp4", "--wait")
	p.Do(`document.querySelector("nav a[href='/jobs']").click()`)
	p.WaitFor(`document.querySelectorAll("#view .row.job").length === 2 && [...document.querySelectorAll("#view .row.job .status")].every(status => status.innerText === "done")`)
	wantPlayed(p, 2)
	if len(p.Complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(p.Complaints, "\n"))
	}
}

// openPage opens a page in a browser in the lab's network.
func (l *lab) openPage(t *testing.T, url string) *browsertest.Page {
	t.Helper()
	return browsertest.Open(t, func(cmd *exec.Cmd) error { return l.net.Do(cmd.Start) }, url)
}

// wantPlayed goes from the list of jobs to the video that a job has made, and plays it
// to its end.
func wantPlayed(p *browsertest.Page, job int) {
	p.Helper()
	p.Do(fmt.Sprintf(`document.querySelector("#view a[href='/jobs/%d']").click()`, job))
	p.WaitFor(`[...document.querySelectorAll("#view .actions a")].some(link => link.innerText === "Play")`)
	p.Do(`[...document.querySelectorAll("#view .actions a")].find(link => link.innerText === "Play").click()`)
	p.WaitFor(`document.querySelector("video")?.readyState > 0 && document.querySelector("video").videoWidth > 0`)
	p.Do(`document.querySelector("video").playbackRate = 4; document.querySelector("[aria-label=Play]").click()`)
	p.WaitFor(`document.querySelector("video").ended && document.querySelector("video").videoWidth === 320`)
}
