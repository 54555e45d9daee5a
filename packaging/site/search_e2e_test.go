//go:build e2e

package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"pibootd/pkg/web/browsertest"
)

// In a browser, from a disk and without a server, search finds a setting, a
// diagnosis and a section, and leads there.
func TestSearch(t *testing.T) {
	dir := t.TempDir()
	if err := run("../..", filepath.Join(dir, "site"), false); err != nil {
		t.Fatal(err)
	}
	p := browsertest.Open(t, (*exec.Cmd).Start, "file://"+filepath.Join(dir, "site", "index.html"))
	p.WaitFor(`document.readyState === "complete" && document.querySelector("#words") !== null`)
	for words, want := range map[string]string{
		"tftp.port":       "configuration.html#tftpport",
		"offered none":    "hangs.html#no_offer",
		"synology port":   "container.html#which-nas-needs-what",
		"nosuchwordatall": "",
	} {
		p.Do(search(words))
		if want != "" && !p.Value(`[...document.querySelectorAll("#found a")].some((a) => a.getAttribute("href") === "`+want+`")`) {
			t.Errorf("searching %q finds no %q: %s", words, want, p.Text(`document.querySelector("#found").textContent`))
		}
		if want == "" && !p.Value(`document.querySelector("#found").textContent === "Nothing has all of these words."`) {
			t.Errorf("searching %q finds %s", words, p.Text(`document.querySelector("#found").textContent`))
		}
	}
	p.Do(search("nfs.driver"))
	p.WaitFor(`document.querySelector("#found a")?.href.endsWith("/configuration.html#nfsdriver")`)
}

// search is what puts words into the box.
func search(words string) string {
	return `document.querySelector("#words").value = "` + words + `"; document.querySelector("#words").dispatchEvent(new Event("input"))`
}
