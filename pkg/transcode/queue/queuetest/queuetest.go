// Package queuetest opens queues for tests, each on a store and a broker of its
// own.
package queuetest

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
)

// Token lets a worker in, whatever it is called.
const Token = "the token of every worker"

// A Queue is a queue and what it is made of.
type Queue struct {
	*queue.Queue
	Store    *store.Store
	Broker   *broker.Broker
	MediaDir string
	// Close ends what Open or Start have begun; the end of the test does, too.
	Close func()
}

// Open opens a queue that nobody runs. What it keeps is in dir, the media share
// too, and is there again for the next that is opened on it. change may alter
// all options but the store, and set another broker, which is closed with the
// queue; nil alters nothing.
func Open(t testing.TB, dir string, change func(*queue.Options)) *Queue {
	t.Helper()
	q, err := open(t.Context(), dir, change)
	if err != nil {
		t.Fatal(err)
	}
	stop := q.Close
	q.Close = sync.OnceFunc(func() {
		err := q.Queue.Close()
		stop()
		if err := errors.Join(err, q.Store.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(q.Close)
	return q
}

// Start opens a queue and runs it.
func Start(t testing.TB, dir string, change func(*queue.Options)) *Queue {
	t.Helper()
	q := Open(t, dir, change)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- q.Run(ctx) }()
	stop := q.Close
	q.Close = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		stop()
	})
	t.Cleanup(func() { q.Close() })
	return q
}

// open opens a queue whose Close stops the broker alone.
func open(ctx context.Context, dir string, change func(*queue.Options)) (*Queue, error) {
	s, err := store.Open(ctx, filepath.Join(dir, "pibootd.db"))
	if err != nil {
		return nil, err
	}
	o := queue.Options{
		Store: s, MediaDir: filepath.Join(dir, "media"),
		Revoke:   func(*os.File) error { return nil }, // workers of tests write no more to what they have handed in
		LiveLate: time.Hour,                           // nothing may depend on the machine's speed
	}
	if change != nil {
		change(&o)
	}
	if err := os.MkdirAll(o.MediaDir, 0o755); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if o.Broker == nil {
		o.Broker, err = broker.Start(broker.Options{
			Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: filepath.Join(dir, "nats"),
			Authenticate: func(_, token string) bool { return token == Token }, Log: o.Log,
		})
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	q, err := queue.Open(ctx, o)
	if err != nil {
		o.Broker.Close()
		return nil, errors.Join(err, s.Close())
	}
	return &Queue{Queue: q, Store: s, Broker: o.Broker, MediaDir: o.MediaDir, Close: o.Broker.Close}, nil
}
