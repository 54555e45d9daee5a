package boot

import (
	"net/netip"
	"sync"

	"pibootd/pkg/pi"
)

// A relays records through which relay each board that is not registered has asked last: it will
// need an address of that network.
type relays struct {
	mu  sync.Mutex
	via map[pi.MAC]netip.Addr
}

// maxRelayed bounds what strangers can make this machine remember.
const maxRelayed = 1024

func (r *relays) seen(mac pi.MAC, relay netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !relay.IsValid() {
		delete(r.via, mac)
		return
	}
	if r.via == nil || len(r.via) >= maxRelayed {
		r.via = map[pi.MAC]netip.Addr{}
	}
	r.via[mac] = relay
}

// RelayOf returns the relay through which a board that is not registered has asked for an
// address; zero if it asked without one.
func (p *Policy) RelayOf(mac pi.MAC) netip.Addr {
	p.relays.mu.Lock()
	defer p.relays.mu.Unlock()
	return p.relays.via[mac]
}
