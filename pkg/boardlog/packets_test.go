package boardlog

import (
	"fmt"
	"testing"
	"time"
)

// The packets of the last boot are kept, and no more than some of them.
func TestPacketsOfTheLastBoot(t *testing.T) {
	var p Packets
	now := noon
	add := func(service, text string, begins bool) {
		now = now.Add(time.Second)
		buffer := []byte(text)
		p.Add("1", Packet{At: now, Service: service, Bytes: buffer}, begins)
		clear(buffer) // the server reuses it
	}
	kept := func() (texts string) {
		for _, packet := range p.Of("1") {
			texts += " " + string(packet.Bytes)
		}
		return texts
	}
	add("dhcp", "discover1", true)
	add("dhcp", "discover2", true) // repeated
	add("tftp", "start.elf", false)
	if got := kept(); got != " discover1 discover2 start.elf" {
		t.Errorf("kept:%s", got)
	}
	add("dhcp", "discover3", true)
	add("dhcp", "request3", false)
	if got := kept(); got != " discover3 request3" {
		t.Errorf("after another boot:%s", got)
	}
	now = now.Add(time.Hour)
	add("dhcp", "discover4", true)
	if got := kept(); got != " discover4" {
		t.Errorf("after a boot that asked for no file:%s", got)
	}
	for i := range 2 * maxPackets {
		add("tftp", fmt.Sprint(i), false)
	}
	if n := len(p.Of("1")); n != maxPackets {
		t.Errorf("%d packets; want %d", n, maxPackets)
	}
	p.Add("2", Packet{Bytes: make([]byte, maxPacketBytes+1)}, true)
	if n := len(p.Of("2")) + len(p.Of("3")); n != 0 {
		t.Errorf("%d packets; want no packet as large as all may be", n)
	}
}
