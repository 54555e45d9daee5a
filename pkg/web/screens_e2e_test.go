//go:build e2e && screens

package web

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pibootd/pkg/web/browsertest"
)

// TestScreens writes pictures of the dashboard to the directory in PIBOOTD_SCREENS, to
// be looked at.
func TestScreens(t *testing.T) {
	into := os.Getenv("PIBOOTD_SCREENS")
	if into == "" {
		into = t.TempDir()
	}
	for name, s := range map[string]*show{
		"empty": {}, "first": {strangers: 2},
		"1-board":    {boards: 1, running: 1, videos: 1, done: 1},
		"12-boards":  {boards: 12, stuck: 2, running: 3, waiting: 12, done: 31, videos: 9, strangers: 3, streams: true},
		"live":       {boards: 2, done: 3, videos: 1, streams: true, live: true}, // without jobs, which its worker would take
		"120-boards": {boards: 120, stuck: 1, running: 3, waiting: 40, done: 257, videos: 9},
		"500-boards": {boards: 500, stuck: 7, running: 5, waiting: 300, done: 1695, videos: 9, strangers: 6},
	} {
		t.Run(name, func(t *testing.T) {
			s.open(t)
			p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
			p.Expected = []string{"/api/v1/session"}
			s.shoot(p, filepath.Join(into, name))
			if len(p.Complaints) > 0 {
				t.Errorf("the browser complains: %q", p.Complaints)
			}
		})
	}
}

// closer is what a person does in a view before the picture is taken, true once it has been done.
var closer = map[string]string{
	"streams": `![...document.querySelectorAll("#view .status")].some(status => /live|behind/.test(status.innerText)) || !!document.querySelector(".poster .shown")`,
	"live":    `document.querySelector("video")?.readyState > 1`,
	"trash":   `(() => { const trash = document.querySelector("details.trash"); trash && (trash.open = true, trash.scrollIntoView()); return true })()`,
	"video": `(() => { const seek = document.querySelector(".seek"), box = seek.getBoundingClientRect();
		seek.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width * .6, bubbles: true })); return !!document.querySelector(".scene .picture") })()`,
}

func (s *show) shoot(p *browsertest.Page, into string) {
	p.Helper()
	s.logIn(p)
	for view, address := range s.views() {
		if problem := p.Go(s.url + address); problem != "" {
			p.Fatalf("%s: %s", address, problem)
		}
		for screen, on := range screens {
			if screen == "4k" && view != "home" || screen == "dark" && s.boards == 1 {
				continue
			}
			p.Show(on)
			p.WaitFor(`document.querySelector("#view h1") && !document.querySelector("#view .skeleton") && [...document.images].every(image => image.complete || image.getBoundingClientRect().top > innerHeight)`)
			if do := closer[view]; do != "" {
				p.WaitFor(do)
			}
			p.Screenshot(filepath.Join(into, view+"-"+screen+".png"))
		}
	}
}
