package pi

import "encoding/binary"

// guidLen is the length of option 97: a type byte and 16 bytes (RFC 4578 §2.3).
const guidLen = 17

// A Model is a board generation as far as its boot code tells it; "" if it
// does not.
type Model string

// The generations whose DHCP messages differ.
const (
	Pi3 Model = "Pi 3"
	Pi4 Model = "Pi 4"
	Pi5 Model = "Pi 5"
)

// DecodeGUID reads the machine identifier that a Pi's boot code puts into
// DHCP option 97 (RFC 4578 §2.3), type byte included. ok is false where it
// tells no serial number: malformed, another maker's, or the constant that
// every 3B mask ROM sends (research: 16 bytes 0x44).
//
// Boards to the Pi 3 and early Pi 4 repeat the serial number four times, low
// byte first. Later ones send "RPi4" or "RPi5", board revision, the low four
// bytes of the address, and the serial number; its byte order is not
// documented, low byte first is assumed.
func DecodeGUID(guid []byte) (serial Serial, model Model, ok bool) {
	if len(guid) != guidLen || guid[0] != 0 {
		return 0, "", false
	}
	id := guid[1:]
	switch string(id[:4]) {
	case "RPi4":
		model = Pi4
	case "RPi5":
		model = Pi5
	default:
		return decodeRepeated(id)
	}
	serial = Serial(binary.LittleEndian.Uint32(id[12:]))
	return serial, model, serial != 0
}

// DecodeRevision reads the board's revision code, as /proc/cpuinfo has it, of what DecodeGUID reads;
// 0 where boot code does not send it.
func DecodeRevision(guid []byte) uint32 {
	_, model, ok := DecodeGUID(guid)
	if !ok || model != Pi4 && model != Pi5 {
		return 0
	}
	return binary.LittleEndian.Uint32(guid[5:])
}

func decodeRepeated(id []byte) (Serial, Model, bool) {
	first := binary.LittleEndian.Uint32(id)
	for at := 4; at < len(id); at += 4 {
		if binary.LittleEndian.Uint32(id[at:]) != first {
			return 0, "", false
		}
	}
	const maskROM = 0x44444444
	if first == maskROM {
		return 0, Pi3, false
	}
	return Serial(first), "", first != 0
}

// EncodeGUID returns option 97 as a board of the given model sends it; it is
// what pkg/virtualpi sends. Only the Pi 4 and 5 send revision (as in
// /proc/cpuinfo) and mac.
func EncodeGUID(model Model, revision uint32, mac MAC, serial Serial) []byte {
	guid := make([]byte, guidLen)
	id := guid[1:]
	if model != Pi4 && model != Pi5 {
		for at := 0; at < len(id); at += 4 {
			binary.LittleEndian.PutUint32(id[at:], uint32(serial))
		}
		return guid
	}
	copy(id, "RPi4")
	if model == Pi5 {
		copy(id, "RPi5")
	}
	binary.LittleEndian.PutUint32(id[4:], revision)
	copy(id[8:12], mac[2:])
	binary.LittleEndian.PutUint32(id[12:], uint32(serial))
	return guid
}
