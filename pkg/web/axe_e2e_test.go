//go:build e2e

package web

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pibootd/pkg/web/browsertest"
)

// axe-core looks at every view, in light and dark and on a phone, and at the dialogs.
// It finds nothing that keeps anybody out, of any level.
func TestNobodyIsKeptOut(t *testing.T) {
	axe, err := os.ReadFile("ui/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("no axe-core, run scripts/install-tools ui first: %v", err)
	}
	s := &show{boards: 26, stuck: 2, running: 2, waiting: 3, done: 12, videos: 3, strangers: 1, streams: true}
	s.open(t)
	p := browsertest.Open(t, (*exec.Cmd).Start, "about:blank")
	p.Expected = []string{"/api/v1/session"}
	s.logIn(p)
	for view, address := range s.views() {
		if problem := p.Go(s.url + address); problem != "" {
			t.Fatalf("%s: %s", address, problem)
		}
		for _, screen := range []string{"light", "dark", "phone"} {
			p.Show(screens[screen])
			p.WaitFor(`document.querySelector("#view h1") && !document.querySelector("#view .skeleton")`)
			wantAccessible(p, string(axe), view+", "+screen)
			wantTidy(p, view+", "+screen)
		}
	}
	p.Do("sessionStorage.clear()")
	for dialog, open := range map[string][2]string{
		"search": {"/", `document.querySelector(".find").click()`}, "add": {"/boards", `[...document.querySelectorAll(".title button")].at(-1).click()`},
		"settings": {"/boards/hlspi9", `[...document.querySelectorAll(".actions button")].find(b => b.innerText === "Settings").click()`},
		"remove":   {"/boards/hlspi9", `[...document.querySelectorAll(".actions button")].find(b => b.innerText === "Remove").click()`},
		"login":    {"/boards/hlspi9", `[...document.querySelectorAll(".actions button")].find(b => b.innerText === "Drain").click()`},
	} {
		p.Go(s.url + open[0])
		p.WaitFor(`document.querySelector("#view h1") && (` + open[1] + `, true)`)
		p.WaitFor(`document.querySelector("dialog[open]")`)
		wantAccessible(p, string(axe), dialog)
	}
	p.Expected = append(p.Expected, "401")
}

// wantTidy makes sure that a page is as long as what is in it, that nothing stands out at its
// side, and no field out of its card.
func wantTidy(p *browsertest.Page, what string) {
	p.Helper()
	const look = `(() => {
		const page = document.documentElement, end = document.querySelector("#view").getBoundingClientRect().bottom + scrollY, found = [];
		if (page.scrollHeight > Math.max(innerHeight, end + 200)) found.push("it is " + page.scrollHeight + " long, with " + end + " of content");
		if (page.scrollWidth > innerWidth) found.push("it is " + page.scrollWidth + " wide");
		for (const field of document.querySelectorAll("#view .card input:not(.sr), #view .card select, #view .card .button")) {
			const box = field.getBoundingClientRect(), card = field.closest(".card").getBoundingClientRect();
			if (box.width > 1 && (box.right > card.right || box.left < card.left)) found.push("out of its card: " + field.outerHTML.slice(0, 200));
		}
		return found;
	})()`
	if found := p.Text(look); found != "[]" {
		p.Errorf("%s: %s", what, found)
	}
}

func wantAccessible(p *browsertest.Page, axe, what string) {
	p.Helper()
	p.Do(axe)
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	const look = `axe.run(document, {rules: {"target-size": {enabled: true}}}).then(found => found.violations)`
	if err := json.Unmarshal([]byte(p.Text(look)), &found); err != nil {
		p.Fatal(err)
	}
	for _, one := range found {
		for _, node := range one.Nodes[:min(2, len(one.Nodes))] {
			p.Errorf("%s: %s (%s): %s: %.200s: %s", what, one.ID, one.Impact, one.Help, node.HTML, strings.ReplaceAll(node.FailureSummary, "\n", " "))
		}
	}
}
