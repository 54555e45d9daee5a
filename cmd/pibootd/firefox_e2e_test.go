//go:build e2e && release

package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"pibootd/pkg/web"
	"pibootd/pkg/web/browsertest"
)

// Firefox plays streams in the page to their end: in MPEG-TS and in CMAF, with another
// sound and with subtitles, and their storyboard.
func TestFirefox(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	l.startWorker(t)
	film := filepath.Join(t.TempDir(), "film.mp4")
	makeTracks(t, film, filepath.Join(t.TempDir(), "sound.mp3"), "12")
	f := browsertest.OpenFirefox(t, func(cmd *exec.Cmd) error { return l.net.Do(cmd.Start) }, func(addr string) (conn net.Conn, err error) {
		err = l.net.Do(func() error { conn, err = net.Dial("tcp", addr); return err })
		return conn, err
	})
	f.Go("http://10.77.0.1:8080/")
	f.Text(`sessionStorage.setItem("pibootd-token", "` + decode[web.AddedToken](t, l, "token", "add", "firefox", "--scope", "read").Secret + `")`)
	for _, segments := range []string{"ts", "cmaf"} {
		job := l.waitFor(t, decode[web.Submitted](t, l, "transcode", film, "--name", segments, "--segments", segments, "--segment-length", "2").Job)
		f.Go("http://10.77.0.1:8080/videos/" + job.Output)
		f.WaitFor(`document.querySelector("video")?.videoWidth > 0 && document.querySelectorAll(".controls select").length >= 2`)
		f.Text(`(() => {
			const choose = (name, text) => {
				const menu = document.querySelector(".controls select[aria-label=" + name + "]");
				menu.value = [...menu.options].find(option => option.text.includes(text)).value;
				menu.dispatchEvent(new Event("change", {bubbles: true}));
			};
			choose("Subtitles", "English");
			choose("Sound", "Deutsch");
			const video = document.querySelector("video"), note = track => { track.oncuechange = () => window.cues.push(...[...(track.activeCues ?? [])].map(cue => cue.text)); };
			window.cues = [];
			for (const track of video.textTracks) note(track);
			video.textTracks.onaddtrack = event => note(event.track);
			video.playbackRate = 2;
			document.querySelector("[aria-label=Play]").click();
		})()`)
		f.WaitFor(`document.querySelector("video").ended`)
		if cues := f.Text(`window.cues.filter((cue, i) => cue !== window.cues[i - 1])`); cues != `["first","last"]` {
			t.Errorf("%s: the subtitles %s are shown; want the first and the last", segments, cues)
		}
		if sound := f.Text(`document.querySelector(".controls select[aria-label=Sound]").selectedOptions[0].text`); sound != `"Deutsch"` {
			t.Errorf("%s: the sound is %s; want Deutsch", segments, sound)
		}
		f.Text(`document.querySelector("[aria-label=Position]").dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: document.querySelector("[aria-label=Position]").getBoundingClientRect().left + 50}))`)
		f.WaitFor(`document.querySelector(".scene .picture")`)
	}
}
