//go:build linux

package virtualpi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pin/tftp/v3"

	"pibootd/pkg/netlab"
)

const (
	tftpPort = 69
	octet    = "octet"

	// maxFile limits the size of a file. The largest files are kernels and initramfs of about 30
	// MB.
	maxFile = 256 << 20

	// The opcodes of RFC 1350 §5 and RFC 2347 that a probe sends or receives.
	opRRQ   = 1
	opDATA  = 3
	opERROR = 5
	opOACK  = 6

	opcodeLen = 2
	codeLen   = 2
	maxAnswer = 4 + 65464 // RFC 2348's largest block
)

// errNoSize reports that a server does not send a file's size, in which case a Pi does not load
// the file (raspberrypi/firmware#1913).
var errNoSize = errors.New("the TFTP server does not answer option tsize, which a Pi needs")

// options are the TFTP options that a boot stage requests.
type options struct {
	tsize   bool
	blksize int // 0 means not requested
}

// A tftpClient reads files for a board.
type tftpClient struct {
	namespace *netlab.Namespace
	local     netip.Addr
	server    netip.Addr
	retry     time.Duration
	limit     time.Duration // for one file
}

// get transfers a file of at most max bytes. If the server sends an ERROR, the error matches
// fs.ErrNotExist, whatever the code, because boot code does not distinguish the codes.
func (c *tftpClient) get(ctx context.Context, name string, o options, max int64) ([]byte, error) {
	deadline := time.Now().Add(c.limit)
	transfer, err := c.receive(name, o)
	if err != nil {
		return nil, err
	}
	size, told := int64(0), false
	if incoming, ok := transfer.(tftp.IncomingTransfer); ok {
		size, told = incoming.Size()
	}
	var data bytes.Buffer
	_, err = transfer.WriteTo(writerFunc(func(block []byte) (int, error) {
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case time.Now().After(deadline):
			return 0, fmt.Errorf("not done within %v", c.limit)
		case int64(data.Len()+len(block)) > max:
			return 0, fmt.Errorf("larger than %d bytes", max)
		}
		return data.Write(block)
	}))
	if err != nil {
		return nil, fmt.Errorf("after %d bytes: %w", data.Len(), err)
	}
	// The server may omit tsize for an empty file.
	if o.tsize && data.Len() > 0 && (!told || size != int64(data.Len())) {
		return nil, fmt.Errorf("got %d bytes, tsize %d: %w", data.Len(), size, errNoSize)
	}
	return data.Bytes(), nil
}

// receive requests a file. The caller must read the returned transfer, because reading it closes
// its socket.
func (c *tftpClient) receive(name string, o options) (transfer io.WriterTo, err error) {
	client, err := c.client(o)
	if err != nil {
		return nil, err
	}
	err = c.namespace.Do(func() error {
		transfer, err = client.Receive(name, octet)
		return err
	})
	switch {
	case err == nil:
		return transfer, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, c.noAnswer()
	case strings.HasPrefix(err.Error(), "code: "): // the library has no other sign of an ERROR from the server
		return nil, refused(strings.TrimRight(err.Error(), "\x00"))
	}
	return nil, err
}

// refused returns the error for the server's ERROR; text is its code and message.
func refused(text string) error { return fmt.Errorf("%w; the server says %q", fs.ErrNotExist, text) }

func (c *tftpClient) noAnswer() error { return fmt.Errorf("no answer within %v", c.limit) }

func (c *tftpClient) client(o options) (*tftp.Client, error) {
	client, err := tftp.NewClient(net.JoinHostPort(c.server.String(), strconv.Itoa(tftpPort)))
	if err != nil {
		return nil, err
	}
	if err := client.SetLocalAddr(c.local.String()); err != nil {
		return nil, err
	}
	client.SetTimeout(c.retry)
	client.SetRetries(int(max(c.limit/c.retry, 1)) - 1)
	client.SetBackoff(func(int) time.Duration { return 0 })
	client.RequestTSize(o.tsize)
	if o.blksize > 0 {
		client.SetBlockSize(o.blksize)
	}
	return client, nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// probe requests a file's size and ends the transfer as a Pi does, by replying to the OACK with
// ERROR 0 "Early terminate". Its errors are those of get.
func (c *tftpClient) probe(ctx context.Context, name string, o options) (size int64, err error) {
	var conn *net.UDPConn
	err = c.namespace.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.local, 0)))
		return err
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	request := packRRQ(name, o)
	buf := make([]byte, maxAnswer)
	for deadline := time.Now().Add(c.limit); time.Now().Before(deadline); {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if _, err := conn.WriteToUDPAddrPort(request, netip.AddrPortFrom(c.server, tftpPort)); err != nil {
			return 0, err
		}
		n, from, err := c.answer(conn, buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return 0, err
		}
		size, err := parseSize(buf[:n])
		if !errors.Is(err, fs.ErrNotExist) {
			// A lost packet does no harm, because the server then times out.
			_, _ = conn.WriteToUDPAddrPort(packEarlyTerminate(), from)
		}
		return size, err
	}
	return 0, c.noAnswer()
}

// answer waits for a packet from the server, from any port.
func (c *tftpClient) answer(conn *net.UDPConn, buf []byte) (int, netip.AddrPort, error) {
	if err := conn.SetReadDeadline(time.Now().Add(c.retry)); err != nil {
		return 0, netip.AddrPort{}, err
	}
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil || from.Addr() == c.server {
			return n, from, err
		}
	}
}

func packRRQ(name string, o options) []byte {
	fields := []string{name, octet}
	if o.tsize {
		fields = append(fields, "tsize", "0")
	}
	if o.blksize > 0 {
		fields = append(fields, "blksize", strconv.Itoa(o.blksize))
	}
	packet := binary.BigEndian.AppendUint16(nil, opRRQ)
	return append(packet, strings.Join(fields, "\x00")+"\x00"...)
}

func packEarlyTerminate() []byte {
	packet := binary.BigEndian.AppendUint16(nil, opERROR)
	packet = binary.BigEndian.AppendUint16(packet, 0) // code "not defined, see error message"
	return append(packet, "Early terminate\x00"...)
}

// parseSize returns the size from the reply to a request with option tsize.
func parseSize(packet []byte) (int64, error) {
	if len(packet) < opcodeLen {
		return 0, fmt.Errorf("TFTP answer of %d bytes; want at least %d", len(packet), opcodeLen)
	}
	switch op, rest := binary.BigEndian.Uint16(packet), packet[opcodeLen:]; op {
	case opOACK:
		return parseOACK(rest)
	case opDATA:
		return 0, errNoSize
	case opERROR:
		if len(rest) < codeLen {
			return 0, fmt.Errorf("TFTP ERROR of %d bytes; want a code", len(packet))
		}
		text, _, _ := bytes.Cut(rest[codeLen:], []byte{0})
		return 0, refused(fmt.Sprintf("code: %d, message: %s", binary.BigEndian.Uint16(rest), text))
	default:
		return 0, fmt.Errorf("TFTP answer with opcode %d; want OACK, DATA or ERROR", op)
	}
}

func parseOACK(rest []byte) (int64, error) {
	fields := strings.Split(string(rest), "\x00")
	for at := 0; at+1 < len(fields); at += 2 {
		if !strings.EqualFold(fields[at], "tsize") {
			continue
		}
		size, err := strconv.ParseInt(fields[at+1], 10, 64)
		if err != nil || size < 0 {
			return 0, fmt.Errorf("TFTP option tsize is %q; want a number of bytes", fields[at+1])
		}
		return size, nil
	}
	return 0, errNoSize
}
