package tftp

import (
	"encoding/binary"
	"fmt"
)

// Packet types, RFC 1350 §5 and RFC 2347.
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOAck  = 6
)

// ERROR codes, RFC 1350 appendix.
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeAccess    = 2
	codeIllegal   = 4
)

// headerLen is the length of a DATA packet's header and of a whole ACK: type
// and block number, or type and code in an ERROR.
const headerLen = 4

// A clientError is an ERROR packet that the client sent. It ends a transfer
// and is never answered (RFC 1350 §7).
type clientError struct {
	code uint16
	text string
}

func (e *clientError) Error() string {
	return fmt.Sprintf("client ended the transfer: code %d, %q", e.code, e.text)
}

// parseReply reads what a client sends during a transfer. ok is false for
// anything but an ACK or an ERROR; an ERROR is returned as a *clientError.
func parseReply(p []byte) (block uint16, ok bool, err error) {
	if len(p) < headerLen {
		return 0, false, nil
	}
	number := binary.BigEndian.Uint16(p[2:])
	switch binary.BigEndian.Uint16(p) {
	case opAck:
		return number, true, nil
	case opError:
		text, _, _ := cutNUL(p[headerLen:])
		return 0, false, &clientError{code: number, text: text}
	}
	return 0, false, nil
}

func appendError(p []byte, code uint16, text string) []byte {
	p = binary.BigEndian.AppendUint16(p, opError)
	p = binary.BigEndian.AppendUint16(p, code)
	p = append(p, text...)
	return append(p, 0)
}

// appendOption appends an option to an OACK.
func appendOption(p []byte, name, value string) []byte {
	p = append(append(p, name...), 0)
	return append(append(p, value...), 0)
}
