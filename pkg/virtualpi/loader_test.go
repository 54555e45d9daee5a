//go:build linux

package virtualpi

import (
	"testing"

	"pibootd/pkg/pi"
)

const testSerial = pi.Serial(0x3333347a)

func TestKernelCmdline(t *testing.T) {
	const text = "console=serial0,115200 console=tty1  root=/dev/nfs \r\nsecond line\n"
	const want = "console=ttyAMA0,115200 console=tty1  root=/dev/nfs"
	if got := kernelCmdline([]byte(text)); got != want {
		t.Errorf("kernelCmdline = %q; want %q", got, want)
	}
}
