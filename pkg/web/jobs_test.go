package web

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// The pages of the list of jobs have each job once, and the last one names no next.
func TestPagesOfJobs(t *testing.T) {
	d := start(t)
	for i := range 7 {
		name := fmt.Sprintf("%d.mp4", i)
		write(t, filepath.Join(d.media, name), "no video")
		job, err := d.client.Submit(t.Context(), transcode.Request{Source: name}, false)
		if err == nil && i%3 == 0 {
			_, err = d.client.CancelJob(t.Context(), job.Job.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string][]int64{
		"limit=3":                                  {7, 6, 5, 4, 3, 2, 1},
		"limit=2&state=cancelled":                  {7, 4, 1},
		"limit=500&state=queued&state=cancelled":   {7, 6, 5, 4, 3, 2, 1},
		"limit=2&before=4&state=queued&state=done": {3, 2},
		"state=failed":                             nil,
	} {
		var got []int64
		for next := "/api/v1/jobs?" + query; next != ""; {
			status, header, text := d.ask(t, "GET", next, "", "")
			var jobs []queue.Job
			if err := json.Unmarshal([]byte(text), &jobs); status != 200 || err != nil {
				t.Fatalf("%s: %d, %v: %s", next, status, err, text)
			}
			for _, job := range jobs {
				got = append(got, job.ID)
			}
			next, _, _ = strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v; want %v", query, got, want)
		}
	}
	for _, wrong := range []string{"limit=501", "limit=-1", "before=x", "state=gone"} {
		if status, _, _ := d.ask(t, "GET", "/api/v1/jobs?"+wrong, "", ""); status != 400 {
			t.Errorf("%s is answered %d; want 400", wrong, status)
		}
	}
}
