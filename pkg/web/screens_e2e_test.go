//go:build e2e

package web

import (
	"fmt"
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
		"12-boards":  {boards: 12, stuck: 2, running: 3, waiting: 12, done: 31, videos: 9, strangers: 1},
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

var screens = map[string]browsertest.Screen{
	"light": {Width: 1440, Height: 900}, "dark": {Width: 1440, Height: 900, Dark: true}, "phone": {Width: 390, Height: 844, Phone: true}, "4k": {Width: 3840, Height: 2160},
}

func (s *show) views() map[string]string {
	views := map[string]string{"home": "/", "boards": "/boards", "jobs": "/jobs", "media": "/videos", "submit": "/submit"}
	if s.boards > 1 {
		views["board"], views["stuck"], views["booting"] = "/boards/"+s.boot[s.boards/2].Name, "/boards/"+s.boot[0].Name, "/boards?state=booting"
		views["job"], views["failed"], views["video"] = fmt.Sprintf("/jobs/%d", s.done+1), "/jobs?state=failed", "/videos/hls/film%201/master.m3u8"
		views["templates"], views["doctor"], views["settings"] = "/templates", "/doctor", "/settings"
	}
	return views
}

func (s *show) shoot(p *browsertest.Page, into string) {
	p.Helper()
	for view, address := range s.views() {
		if problem := p.Go(s.url + address); problem != "" {
			p.Fatalf("%s: %s", address, problem)
		}
		for screen, on := range screens {
			if screen == "4k" && view != "home" || screen == "dark" && s.boards == 1 {
				continue
			}
			p.Show(on)
			p.WaitFor(`document.querySelector("#view h1") && !document.querySelector("#view .skeleton") && [...document.images].every(image => image.complete)`)
			p.Screenshot(filepath.Join(into, view+"-"+screen+".png"))
		}
	}
}
