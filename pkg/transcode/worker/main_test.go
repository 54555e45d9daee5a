package worker

import (
	"log/slog"
	"testing"
)

// testLog returns a log whose lines are shown where a test fails.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
