package natstest

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// StartCluster runs two or more servers as one cluster until the test ends and
// returns the URL of one. They let everybody in.
func StartCluster(t testing.TB, servers int) string {
	t.Helper()
	var fronts []*front
	var routes []*url.URL
	for range servers {
		f := newFront(t)
		fronts = append(fronts, f)
		routes = append(routes, &url.URL{Scheme: "nats", Host: f.listen.Addr().String()})
	}
	var first *server.Server
	for i, f := range fronts {
		s := run(t, &server.Options{
			ServerName: fmt.Sprint("server", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 30,
			Cluster: server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: server.RANDOM_PORT},
			Routes:  routes,
		})
		t.Cleanup(func() { stop(s) })
		f.to.Store(new(s.ClusterAddr().String()))
		if first == nil {
			first = s
		}
	}
	return first.ClientURL()
}
