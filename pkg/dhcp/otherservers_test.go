package dhcp

import (
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FuzzParseOtherServer: no frame of the network can stop the search.
func FuzzParseOtherServer(f *testing.F) {
	offer, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))
	if err != nil {
		f.Fatal(err)
	}
	offer.OpCode = dhcpv4.OpcodeBootReply
	payload := offer.ToBytes()
	frame := make([]byte, headerEthernet+headerIPv4+headerUDP, 600)
	frame[12], frame[13] = 8, 0
	frame[14], frame[23] = 0x45, protocolUDP
	total := headerIPv4 + headerUDP + len(payload)
	frame[16], frame[17] = byte(total>>8), byte(total)
	frame[37] = clientPort
	frame = append(frame, payload...)
	if _, ok := parseOtherServer(frame, offer.TransactionID); !ok {
		f.Fatal("an OFFER is not understood")
	}
	f.Add(frame)
	f.Add(frame[:40])
	f.Fuzz(func(t *testing.T, frame []byte) { parseOtherServer(frame, offer.TransactionID) })
}
