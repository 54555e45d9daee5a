//go:build e2e

package web

import (
	"os/exec"
	"testing"

	"pibootd/pkg/web/browsertest"
)

// press clicks the last button with this text once it is there.
func press(p *browsertest.Page, text string) {
	p.Helper()
	p.WaitFor(`(button => button && !button.disabled && (button.click(), true))([...document.querySelectorAll("button")].filter(b => b.innerText.trim() === ` + "`" + text + "`" + `).at(-1))`)
}

// By a token alone, somebody deletes a video and undoes that, has a template made and
// cancelled, adds a token, and reads a board's log.
func TestPageOfAnAdmin(t *testing.T) {
	s := &show{boards: 8, running: 1, done: 3, videos: 2}
	s.open(t)
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/session", "/media/hls/film%201/"} // the player may be loading what is deleted
	s.logIn(p)

	p.Go(s.url + "/videos/hls/film%201/master.m3u8")
	press(p, "Delete")
	p.WaitFor(`document.querySelector("dialog[open]")`)
	press(p, "Delete")
	p.WaitFor(`location.pathname === "/videos" && document.querySelector(".trash") && document.querySelectorAll(".videos .video").length === 1`)
	press(p, "Undo")
	p.WaitFor(`!document.querySelector(".trash") && document.querySelectorAll(".videos .video").length === 2`)

	p.Go(s.url + "/templates#make")
	press(p, "Build")
	p.WaitFor(`document.querySelector(".row.making")?.innerText.includes("starting")`)
	p.Do(`document.querySelector(".row.making button").click()`)
	p.WaitFor(`[...document.querySelectorAll(".notice")].some(notice => notice.innerText.includes("is cancelled"))`)

	p.Go(s.url + "/settings")
	press(p, "Add a token")
	p.WaitFor(`document.querySelector("dialog[open] input")`)
	p.Do(`const input = document.querySelector("dialog[open] input"); input.value = "grafana"; input.dispatchEvent(new Event("input", {bubbles: true}))`)
	press(p, "Add")
	p.WaitFor(`document.querySelector("dialog[open] code")?.innerText.startsWith("pibootd_")`)
	press(p, "Done")
	p.WaitFor(`document.querySelector("[aria-labelledby=tokens]").innerText.includes("grafana")`)

	p.Go(s.url + "/boards/" + s.boot[4].Name)
	p.WaitFor(`document.querySelector(".loglines")?.innerText.includes("Undervoltage detected") && document.querySelector(".sparkline .hollow")`)
	if len(p.Complaints) > 0 {
		t.Errorf("the browser complains: %q", p.Complaints)
	}
}
