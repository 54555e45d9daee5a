package queue

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// An encoder does not wait for a worker that is gone; for one that is slow it does.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		begin := time.Now()
		chunk := bytes.Repeat([]byte{1}, 1<<20)
		for n := range maxFeed / len(chunk) {
			if _, err := f.Write(chunk); err != nil {
				t.Fatalf("chunk %d: %v", n, err)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the encoder waited for %v without a reader; want not at all", took)
		}
		read := make([]byte, len(chunk)+1)
		time.AfterFunc(feedWait/2, func() {
			if n, err := f.Read(read); n != len(read) || err != nil {
				t.Errorf("%d bytes, %v; want %d", n, err, len(read))
			}
		})
		if _, err := f.Write(chunk); err != nil || time.Since(begin) != feedWait/2 {
			t.Errorf("%v after %v; want the slow reader awaited", err, time.Since(begin))
		}
		if _, err := f.Write(chunk); !errors.Is(err, errFeedClosed) || time.Since(begin) != feedWait*3/2 {
			t.Errorf("%v after %v; want the reader given up", err, time.Since(begin))
		}
		rest, err := io.ReadAll(f)
		if want := maxFeed - 1; len(rest) != want || err != nil {
			t.Errorf("%d bytes are left, %v; want %d and the end", len(rest), err, want)
		}
	})
}

// A reader waits until its deadline, and no longer when the feed is closed.
func TestFeedDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		begin := time.Now()
		if err := f.SetReadDeadline(begin.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%d, %v after %v; want the deadline", n, err, time.Since(begin))
		}
		if _, err := f.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v; want the end", n, err)
		}
	})
}
