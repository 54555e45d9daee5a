//go:build e2e

package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/web/browsertest"
)

// What somebody has put into the media share does not run in a browser as a page
// of pibootd's origin; a video there is shown, and has no origin.
func TestMediaIsNoPage(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	media := filepath.Join(l.state, "media")
	const script = `<script>document.title = "it runs"</script>`
	for name, text := range map[string]string{
		"page.html": "<!DOCTYPE html>" + script, "page": "<!DOCTYPE html>" + script, "page.xhtml": `<html xmlns="http://www.w3.org/1999/xhtml"><head>` + script + "</head></html>",
		"page.svg": `<svg xmlns="http://www.w3.org/2000/svg">` + script + "</svg>", "page.mp4": "<!DOCTYPE html>" + script, "page.vtt": "<!DOCTYPE html>" + script,
	} {
		putText(t, filepath.Join(media, name), text)
	}
	makeVideo(t, filepath.Join(media, "a.mp4"), "3")

	const base = "http://10.77.0.1:8080/media/"
	p := l.openPage(t, "about:blank")
	for _, name := range []string{"page.html", "page", "page.xhtml", "page.svg"} {
		if err := p.Go(base + name); !strings.Contains(err, "ERR_ABORTED") {
			t.Errorf("%s: %q; want it kept as a file", name, err)
		}
	}
	for _, name := range []string{"page.mp4", "page.vtt"} {
		if err := p.Go(base + name); err != "" {
			t.Errorf("%s: %q; want it shown as what it is not", name, err)
		}
		if title := p.Text(`document.title`); strings.Contains(title, "it runs") {
			t.Errorf("%s runs as a page", name)
		}
	}
	if err := p.Go(base + "a.mp4"); err != "" {
		t.Fatalf("a video: %s", err)
	}
	poll(p, `document.querySelector("video").videoWidth === 320`)
	if origin := p.Text(`self.origin`); origin != `"null"` {
		t.Errorf("a video has the origin %s; want none", origin)
	}
}

// poll is WaitFor for a page in which nothing may run, timers neither.
func poll(p *browsertest.Page, expression string) {
	p.Helper()
	late := time.After(labTimeout)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !p.Value(expression) {
		select {
		case <-look.C:
		case <-late:
			p.Fatalf("it never becomes true that %s", expression)
		}
	}
}
