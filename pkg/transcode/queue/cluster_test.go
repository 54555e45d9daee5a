package queue

import (
	"context"
	"testing"
	"time"

	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/broker/natstest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Three servers keep the stream thrice; two can lose neither, and keep it once.
func TestStreamOfACluster(t *testing.T) {
	t.Parallel()
	for servers, want := range map[int]int{2: 1, 3: 3} {
		conn, err := nats.Connect(natstest.StartCluster(t, servers))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		q := &Queue{broker: new(broker.Broker), conn: conn} // an external one
		if q.js, err = jetstream.New(conn); err != nil {
			t.Fatal(err)
		}
		makeStreamOfCluster(t, q, want)
	}
}

// makeStreamOfCluster tries until the cluster has found a leader, and that one
// all servers.
func makeStreamOfCluster(t *testing.T, q *Queue, replicas int) {
	t.Helper()
	patient, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		ctx, cancel := context.WithTimeout(patient, 3*time.Second)
		stream, err := q.makeStream(ctx)
		cancel()
		switch {
		case err == nil && stream.CachedInfo().Config.Replicas == replicas:
			return
		case patient.Err() != nil:
			t.Fatalf("stream %+v, %v; want %d replicas", stream, err, replicas)
		}
	}
}
