package dhcp

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

// A lease is an acknowledged address with its end, as it is stored.
type lease struct {
	mac     pi.MAC
	addr    netip.Addr
	expires time.Time
}

// OpenPool returns the pool of the addresses from first to last with the leases
// that st has of it. reserved, which may be nil, reports which of the addresses
// are a registered board's: nobody else gets them. It is asked while the pool is
// locked, so it must answer from memory.
func OpenPool(ctx context.Context, st *store.Store, first, last netip.Addr, reserved func(netip.Addr) bool) (*Pool, error) {
	p, err := newPool(first, last, reserved)
	if err != nil {
		return nil, err
	}
	p.store = st
	rows, err := st.Query(ctx, "SELECT mac, addr, expires FROM leases")
	if err != nil {
		return nil, fmt.Errorf("dhcp: reading leases: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		l, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("dhcp: reading leases: %w", err)
		}
		p.restore(l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("dhcp: reading leases: %w", err)
	}
	return p, nil
}

func scan(rows *sql.Rows) (lease, error) {
	var mac, addr string
	var expires int64
	if err := rows.Scan(&mac, &addr, &expires); err != nil {
		return lease{}, err
	}
	l := lease{expires: time.Unix(0, expires)}
	var err error
	if l.mac, err = pi.ParseMAC(mac); err != nil {
		return lease{}, err
	}
	l.addr, err = netip.ParseAddr(addr)
	return l, err
}

// restore takes in a lease from the store. One outside the pool, whose range
// was another once, is left alone: it comes to life when the range is.
func (p *Pool) restore(l lease) {
	if i, ok := p.index(l.addr); ok {
		p.slots[i] = slot{state: leased, mac: l.mac, until: l.expires}
		p.owner[l.mac] = i
	}
}

// A batch is leases that are committed together: a commit waits for the disk,
// and after a power cut hundreds of boards ask at once.
type batch struct {
	leases []lease
	done   chan struct{} // closed when err is set
	err    error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// save returns when l is on disk, or cannot be.
func (p *Pool) save(ctx context.Context, l lease) error {
	p.mu.Lock()
	b := p.batches[len(p.batches)-1]
	if len(b.leases) == maxBatch {
		b = newBatch()
		p.batches = append(p.batches, b)
	}
	b.leases = append(b.leases, l)
	p.mu.Unlock()
	signal(p.due)
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write commits what save is given until ctx ends. While one batch is written
// the next gathers.
func (p *Pool) write(ctx context.Context) {
	for {
		select {
		case <-p.due:
		case <-ctx.Done():
			return
		}
		b := p.nextBatch()
		b.err = p.commit(ctx, b.leases)
		close(b.done)
		if n := len(b.leases); n > 1 && n < maxBatch && !pause.For(ctx, gather) {
			return
		}
	}
}

// gather is how long leases gather for the next commit where several clients ask at once. A client
// waits seconds for its ACK, and a lone one is not held up.
const gather = 5 * time.Millisecond

// maxBatch bounds what one commit acknowledges, and so how many answers go out
// at once: relays and switches have to keep up with them.
const maxBatch = 32

// nextBatch returns what is to be written now.
func (p *Pool) nextBatch() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.batches[0]
	if p.batches = p.batches[1:]; len(p.batches) == 0 {
		p.batches = append(p.batches, newBatch())
	} else {
		signal(p.due)
	}
	return b
}

func (p *Pool) commit(ctx context.Context, leases []lease) error {
	err := p.store.Write(ctx, func(tx *sql.Tx) error {
		// What is replaced is the client's former address, and the address's
		// former client.
		put, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO leases (mac, addr, expires) VALUES (?, ?, ?)")
		if err != nil {
			return err
		}
		defer put.Close()
		for _, l := range leases {
			if _, err := put.ExecContext(ctx, l.mac.String(), l.addr.String(), l.expires.UnixNano()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("dhcp: storing %d leases: %w", len(leases), err)
	}
	return nil
}
