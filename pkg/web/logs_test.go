package web

import (
	"strings"
	"testing"

	"pibootd/pkg/boardlog"
)

// Logs are read through the control socket, by board and text, and followed.
func TestLogs(t *testing.T) {
	d := start(t)
	ctx := t.Context()
	d.logged(t, "one")
	d.logged(t, "two")
	all, err := d.client.Logs(ctx, boardlog.Query{Board: "hlspi1"})
	if err != nil || len(all) != 2 || all[0].Text != "one" || all[0].Name != "hlspi1" || all[0].Board != "3333347a" {
		t.Fatalf("Logs = %+v, %v; want both lines of hlspi1", all, err)
	}
	for _, q := range []boardlog.Query{{Last: 1}, {Contains: "APP: t"}, {After: all[0].ID, Board: "3333347a"}} {
		if got, err := d.client.Logs(ctx, q); err != nil || len(got) != 1 || got[0].Text != "two" {
			t.Errorf("Logs of %+v = %+v, %v; want the second line", q, got, err)
		}
	}
	for q, want := range map[boardlog.Query]string{
		{Board: "nobody"}: "nobody", {Last: -1}: "want 1 to 1000 lines", {Contains: strings.Repeat("x", 201)}: "contains: got 201 bytes",
	} {
		if got, err := d.client.Logs(ctx, q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Logs of %+v = %+v, %v; want an error with %q", q, got, err, want)
		}
	}
	for line, err := range d.client.FollowLogs(ctx, boardlog.Query{Board: "hlspi1", After: all[0].ID}) {
		if err != nil || line.Text != "two" || line.Name != "hlspi1" {
			t.Errorf("FollowLogs = %+v, %v; want the second line", line, err)
		}
		break
	}
}
