//go:build netns

package daemon

import (
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/web"
)

// A daemon starts on the state directories of earlier versions: their boards are served
// from their roots, and boards, jobs and timelines are as they were. The database as it was
// is kept beside it, once. scripts/old-queues made what is in testdata; TestEarlierQueues
// finishes the jobs.
func TestEarlierStates(t *testing.T) {
	archives, err := filepath.Glob("../transcode/worker/testdata/*.tar.gz")
	if err != nil || len(archives) < 2 {
		t.Fatalf("%q, %v; want the archives of two versions", archives, err)
	}
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			cfg := config.Default()
			cfg.Interface, cfg.StateDir, cfg.NFS.Driver = "br0", t.TempDir(), config.Embedded
			if out, err := exec.Command("tar", "-C", cfg.StateDir, "-xzf", archive).CombinedOutput(); err != nil {
				t.Fatalf("unpacking: %v\n%s", err, out)
			}
			database := filepath.Join(cfg.StateDir, Database)
			before := earlierRows(t, database)
			for range 2 {
				stop := start(t, network, cfg)
				for _, name := range []string{"first", "second"} {
					board, err := web.NewClient(cfg.SocketFile()).Pi(t.Context(), name)
					if err != nil || board.Problem != "" || board.Root.Template != "tiny" {
						t.Errorf("board %s: %+v, %v; want it, with its root", name, board, err)
					}
				}
				if err := stop(); err != nil {
					t.Errorf("Run = %v", err)
				}
			}
			if after := earlierRows(t, database); !strings.HasPrefix(after, before) {
				t.Errorf("after two starts there is\n%s\nwant it to begin with\n%s", after, before)
			}
			copies, err := filepath.Glob(database + ".schema-*")
			if err != nil || len(copies) != 1 {
				t.Fatalf("copies: %q, %v; want one", copies, err)
			}
			if got := earlierRows(t, copies[0]); got != before {
				t.Errorf("the copy has\n%s\nwant\n%s", got, before)
			}
		})
	}
}

// earlierRows returns the boards, the jobs with their units, and the timeline, last.
func earlierRows(t *testing.T, file string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?mode=rw")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out strings.Builder
	for _, query := range []string{
		"SELECT id || serial || mac || name || ip || template || version || settings || token || clone FROM pis ORDER BY id",
		"SELECT name || settings || token FROM machines ORDER BY name",
		"SELECT id || state || request || plan || paused FROM jobs ORDER BY id",
		"SELECT job || unit || state || attempt || spec || result FROM units ORDER BY job, unit",
		"SELECT id || event FROM events ORDER BY id",
	} {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; rows.Next(); n++ {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&out, row)
		}
		if err := rows.Err(); err != nil || n == 0 {
			t.Fatalf("%s: %d rows, %v; want some", query, n, err)
		}
	}
	return out.String()
}
