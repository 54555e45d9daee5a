//go:build e2e

package web

import (
	"fmt"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"pibootd/pkg/timeline"
	"pibootd/pkg/web/browsertest"
)

// With 500 boards and 2,000 jobs, a page that shows all of it gets next to nothing
// while nothing happens, and one change costs a few hundred bytes. The daemon stays
// small, however many follow. Rows that change stay the same elements, so that focus
// and selection stay too.
func TestManyBoardsAndJobs(t *testing.T) {
	s := &show{boards: 500, stuck: 7, running: 5, waiting: 300, done: 1695, strangers: 6}
	s.open(t)
	const followers = 10
	streams := make([]*liveFollower, followers)
	for i := range streams {
		streams[i] = followLive(t, s.url, "")
		streams[i].until(func(state map[string]any) bool { return at(state, "system") != nil })
	}
	f := streams[0]
	if boards, jobs := len(at(f.state, "boards").(map[string]any)), len(at(f.state, "jobs").(map[string]any)); boards != 500 || jobs != 2000 {
		t.Fatalf("%d boards and %d jobs are shown; want all", boards, jobs)
	}
	t.Logf("the snapshot has %d bytes", f.bytes)
	before, began := f.bytes, time.Now()
	board := s.boot[250]
	for i := range 8 { // every other second something happens
		s.events.Record(timeline.Event{Board: board.Serial.String(), Name: board.Name, Kind: timeline.File, File: "start4.elf", Bytes: int64(i + 1)})
		f.until(func(state map[string]any) bool {
			return at(state, "boards", board.Serial.String(), "last", "bytes") == float64(i+1)
		})
	}
	seconds := max(1, time.Since(began).Seconds())
	if got := float64(f.bytes-before) / max(8, seconds); got > 2000 {
		t.Errorf("8 events make %.0f bytes each, or a second; want at most 2000", got)
	}
	t.Logf("8 events made %d bytes", f.bytes-before)
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	// The test has a copy of the state for each follower besides.
	if memory.HeapAlloc > 200<<20 {
		t.Errorf("%d MB are in use; want less than 200", memory.HeapAlloc>>20)
	}
	t.Logf("%d MB are in use", memory.HeapAlloc>>20)

	p := browsertest.Open(t, (*exec.Cmd).Start, s.url+"/boards")
	p.Show(screens["light"])
	p.WaitFor(`document.querySelectorAll("#view .row.board .name").length > 90`)
	t.Logf("the first paint is after %s ms", p.Text(`String(Math.round(performance.getEntriesByName("first-contentful-paint")[0].startTime))`))
	p.Do(`window.row = [...document.querySelectorAll(".row.board")].find(row => row.querySelector("a")?.innerText === "hlspi20"); row.querySelector("a").focus(); getSelection().selectAllChildren(row)`)
	s.events.Record(timeline.Event{Board: s.boot[19].Serial.String(), Name: "hlspi20", Kind: timeline.WorkerOffline})
	p.Do(`const other = [...document.querySelectorAll(".row.board")].find(row => row.querySelector("a")?.innerText === "hlspi21");
		new MutationObserver(() => { window.changed ??= Date.now(); }).observe(other, {subtree: true, childList: true, characterData: true})`)
	recorded := time.Now()
	s.events.Record(timeline.Event{Board: s.boot[20].Serial.String(), Name: "hlspi21", Kind: timeline.Discover})
	p.WaitFor(`[...document.querySelectorAll(".row.board")].find(row => row.querySelector("a")?.innerText === "hlspi21").querySelector(".status").innerText === "booting"`)
	t.Logf("an update right behind another is there after %s ms", p.Text(fmt.Sprintf("String(changed - %d)", recorded.UnixMilli())))
	if !p.Value(`row.isConnected && document.activeElement === row.querySelector("a") && getSelection().toString().includes("hlspi20")`) {
		t.Error("a change of a row took focus or selection away")
	}
}
