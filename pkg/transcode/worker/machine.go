package worker

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
)

// machine returns the condition of this machine. What cannot be found out is left out.
func (w *Worker) machine() transcode.Machine {
	m := transcode.Machine{Time: time.Now(), Throttled: w.throttled(), Temperature: w.temperature(), Load: w.load()}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Join("/", w.system), &fs); err == nil {
		m.RootReadOnly = int64(fs.Flags)&unix.ST_RDONLY != 0
		m.RootSize, m.RootFree = int64(fs.Blocks)*int64(fs.Bsize), int64(fs.Bavail)*int64(fs.Bsize)
	}
	return m
}

// Bounds of what a sensor of a machine that runs can have, in °C. Others are not connected.
const coldest, hottest = -40, 150

// temperature returns that of the hottest sensor in °C, 0 if there is none.
func (w *Worker) temperature() (most float64) {
	files, _ := filepath.Glob(filepath.Join("/", w.system, "sys/class/thermal/thermal_zone*/temp"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a sensor that is switched off
		}
		milli, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if celsius := float64(milli) / 1000; err == nil && celsius > coldest && celsius < hottest {
			most = max(most, celsius)
		}
	}
	return most
}

// load returns the first number of /proc/loadavg, 0 if it cannot be read.
func (w *Worker) load() float64 {
	text, err := os.ReadFile(filepath.Join("/", w.system, "proc/loadavg"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || !(load >= 0 && load <= math.MaxUint16) { // NaN is no number of JSON
		return 0
	}
	return load
}

// throttledFiles are where the kernel shows what the firmware says; the directory is named after
// the firmware's node in the device tree.
var throttledFiles = []string{
	"sys/devices/platform/soc/soc:firmware/get_throttled",
	"sys/devices/platform/*/*firmware/get_throttled",
	"sys/devices/platform/*firmware/get_throttled",
}

// throttled returns the bits of transcode.Machine, 0 on other machines. Minimal roots have no
// vcgencmd, and not every kernel shows them as a file.
func (w *Worker) throttled() uint32 {
	root := filepath.Join("/", w.system)
	for _, pattern := range throttledFiles {
		files, _ := filepath.Glob(filepath.Join(root, pattern)) // the patterns are sound
		for _, file := range files {
			if bits, err := readBits(file); err == nil {
				return bits
			}
		}
	}
	if bits, err := askFirmware(filepath.Join(root, "dev/vcio")); err == nil {
		return bits
	}
	return lowVoltage(root)
}

// readBits reads a number as the kernel's raspberrypi firmware driver writes it, in hexadecimal.
func readBits(file string) (uint32, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	bits, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(text)), "0x"), 16, 32)
	return uint32(bits), err
}

// lowVoltage returns bit 0 if the driver raspberrypi-hwmon reports too little voltage.
func lowVoltage(root string) uint32 {
	names, _ := filepath.Glob(filepath.Join(root, "sys/class/hwmon/*/name"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(text)) != "rpi_volt" {
			continue
		}
		if alarm, err := readBits(filepath.Join(filepath.Dir(name), "in0_lcrit_alarm")); err == nil {
			return alarm & 1
		}
	}
	return 0
}

// The words of a message to the firmware by /dev/vcio (the maker's "Mailbox property interface").
const (
	vcioRequest  = 0
	vcioDone     = 0x80000000
	getThrottled = 0x00030046
	vcioType     = 100
)

// throttledMessage asks for one value of 4 bytes, which the answer has in the word before the last.
func throttledMessage() []byte {
	words := []uint32{28, vcioRequest, getThrottled, 4, 0, 0, 0}
	message := make([]byte, 0, 4*len(words))
	for _, word := range words {
		message = binary.LittleEndian.AppendUint32(message, word)
	}
	return message
}

func parseThrottled(answer []byte) (uint32, error) {
	if done := binary.LittleEndian.Uint32(answer[4:]); done != vcioDone {
		return 0, fmt.Errorf("firmware: status %#x; want %#x", done, uint32(vcioDone))
	}
	return binary.LittleEndian.Uint32(answer[20:]), nil
}

// askFirmware asks by _IOWR(100, 0, char *), of which the size of a pointer is part.
func askFirmware(device string) (uint32, error) {
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	message := throttledMessage()
	const readWrite = 3
	request := uintptr(readWrite<<30 | unsafe.Sizeof(uintptr(0))<<16 | vcioType<<8)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), request, uintptr(unsafe.Pointer(&message[0]))); errno != 0 {
		return 0, errno
	}
	return parseThrottled(message)
}
