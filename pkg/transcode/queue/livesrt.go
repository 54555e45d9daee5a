package queue

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	srt "github.com/datarhei/gosrt"

	"pibootd/pkg/pi"
)

// SRT is UDP, which the tunnel cannot carry. So the daemon itself receives it, and passes on
// the stream in it.

// srtConfig returns the settings of SRT in a live source's URL, as srt-live-transmit names
// them: streamid, passphrase, latency in milliseconds, …
func srtConfig(u *url.URL) (srt.Config, error) {
	config := srt.DefaultConfig()
	if mode := u.Query().Get("mode"); mode != "" && mode != "caller" {
		return config, pi.InvalidField("source", fmt.Errorf("SRT with mode=%.20q; want caller, as pibootd connects to the source", mode))
	}
	err := config.UnmarshalQuery(u.RawQuery)
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		return config, pi.InvalidField("source", fmt.Errorf("the settings of SRT in the source's URL are wrong; want streamid, passphrase (10 to 79 bytes), latency (ms): %w", err))
	}
	return config, nil
}

// connectSRT receives a live source by SRT.
func connectSRT(u *url.URL, addr netip.AddrPort) (tunnelEnd, error) {
	config, err := srtConfig(u)
	if err != nil {
		return nil, err
	}
	relay, err := newSRTRelay(addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the source: %w", err)
	}
	conn, err := srt.Dial("srt", relay.near.LocalAddr().String(), config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the source: %w", errors.Join(err, relay.Close()))
	}
	return newPump(relayedSRT{conn, relay}), nil
}

// relayedSRT is a connection whose packets a relay passes on.
type relayedSRT struct {
	srt.Conn
	relay *srtRelay
}

// Close ends both.
func (r relayedSRT) Close() error { return errors.Join(r.Conn.Close(), r.relay.Close()) }
