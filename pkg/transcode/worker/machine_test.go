package worker

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a board's kernel shows of its firmware is reported, wherever it shows it.
func TestThrottled(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  uint32
	}{
		"no Raspberry Pi":       {nil, 0},
		"Pi 4":                  {map[string]string{"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"}, 0x50005},
		"Pi 5":                  {map[string]string{"sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "e0008\n"}, 0xe0008},
		"a node of its own":     {map[string]string{"sys/devices/platform/firmware/get_throttled": "0x1"}, 1},
		"fine":                  {map[string]string{"sys/devices/platform/soc/soc:firmware/get_throttled": "0\n", "sys/class/hwmon/hwmon1/name": "rpi_volt", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1"}, 0},
		"nonsense":              {map[string]string{"sys/devices/platform/soc/soc:firmware/get_throttled": "high\n"}, 0},
		"the driver of voltage": {map[string]string{"sys/class/hwmon/hwmon0/name": "cpu_thermal\n", "sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}, 1},
		"a device that is none": {map[string]string{"dev/vcio": ""}, 0},
	} {
		w := &Worker{system: makeSystem(t, test.files)}
		if got := w.throttled(); got != test.want {
			t.Errorf("%s: %#x; want %#x", name, got, test.want)
		}
	}
}

// makeSystem makes a directory with these files, as a worker would find them below /.
func makeSystem(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for file, text := range files {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A worker reports its hottest sensor and its load, and nothing where these cannot be read.
func TestHeatAndLoad(t *testing.T) {
	for name, test := range map[string]struct {
		files      map[string]string
		heat, load float64
	}{
		"no sensor": {nil, 0, 0},
		"a Pi":      {map[string]string{"sys/class/thermal/thermal_zone0/temp": "61342\n", "proc/loadavg": "3.42 2.10 1.00 5/123 4567\n"}, 61.342, 3.42},
		"several":   {map[string]string{"sys/class/thermal/thermal_zone0/temp": "27800\n", "sys/class/thermal/thermal_zone1/temp": "55000\n", "sys/class/thermal/thermal_zone2/temp": "-274000\n"}, 55, 0},
		"nonsense":  {map[string]string{"sys/class/thermal/thermal_zone0/temp": "warm\n", "proc/loadavg": "NaN 1 1\n"}, 0, 0},
	} {
		w := &Worker{system: makeSystem(t, test.files)}
		if m := w.machine(); m.Temperature != test.heat || m.Load != test.load {
			t.Errorf("%s: %v °C, load %v; want %v, %v", name, m.Temperature, m.Load, test.heat, test.load)
		}
	}
}

func TestFirmwareMessage(t *testing.T) {
	message := throttledMessage()
	if len(message) != int(binary.LittleEndian.Uint32(message)) {
		t.Errorf("the message says that it has %d bytes; want %d", binary.LittleEndian.Uint32(message), len(message))
	}
	if _, err := parseThrottled(message); err == nil {
		t.Error("a message that nobody has answered is an answer")
	}
	binary.LittleEndian.PutUint32(message[4:], vcioDone)
	binary.LittleEndian.PutUint32(message[20:], 0x50000)
	if bits, err := parseThrottled(message); err != nil || bits != 0x50000 {
		t.Errorf("parseThrottled = %#x, %v; want 0x50000", bits, err)
	}
}

func TestMachine(t *testing.T) {
	w := &Worker{system: t.TempDir()}
	m := w.machine()
	if m.RootReadOnly || m.RootSize <= 0 || m.RootFree > m.RootSize || time.Since(m.Time) > time.Minute {
		t.Errorf("machine = %+v; want a writable file system with its size, and the time", m)
	}
	if m := (&Worker{system: "proc/sys"}).machine(); m.RootSize != 0 {
		t.Errorf("a file system without a size has %d bytes; want 0, unknown", m.RootSize)
	}
}
