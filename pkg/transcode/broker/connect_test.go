package broker

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// patience bounds every wait of a test that would otherwise never end.
const patience = 60 * time.Second

func goodToken(worker string) string { return "token of " + worker }

func authenticate(worker, token string) bool {
	return strings.HasPrefix(worker, "pi") && token == goodToken(worker)
}

// connect logs in as a worker does.
func connect(b *Broker, name, token string) (*nats.Conn, error) {
	return nats.Connect(b.URL(), nats.UserInfo(name, token),
		nats.CustomInboxPrefix("_INBOX."+name), nats.MaxReconnects(0), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}
