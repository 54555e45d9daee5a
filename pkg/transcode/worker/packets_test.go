package worker

import (
	"bufio"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// Packets are read from ffprobe's lines as from any JSON.
func TestPacketLines(t *testing.T) {
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=10:d=3 -f lavfi -i sine=d=3 "+x264+"-c:a aac")
	text := ffmpegRun(t, ".", "ffprobe", probeArgs(source)...)
	if !strings.HasPrefix(text, packetsBegin) {
		t.Fatalf("ffprobe begins with %.100q; want %q", text, packetsBegin)
	}
	var want struct {
		Packets []packet `json:"packets"`
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil || len(want.Packets) < 60 {
		t.Fatalf("%d packets, %v; want those of 3 seconds", len(want.Packets), err)
	}
	lines := bufio.NewReaderSize(strings.NewReader(strings.TrimPrefix(text, packetsBegin)), maxPacketBytes)
	for i, p := range want.Packets {
		got, last, err := readPacket(lines)
		if err != nil || last || !reflect.DeepEqual(got, p) {
			t.Fatalf("packet %d: %+v, %t, %v; want %+v", i, got, last, err, p)
		}
	}
	if _, last, err := readPacket(lines); err != nil || !last {
		t.Errorf("after the last packet: %t, %v; want the end", last, err)
	}
	compact, err := json.Marshal(json.RawMessage(text))
	if err != nil {
		t.Fatal(err)
	}
	a, errA := readReport(strings.NewReader(text), func(int) {})
	b, errB := readReport(strings.NewReader(string(compact)), func(int) {})
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("by lines %+v, %v; want as by JSON: %+v, %v", a, errA, b, errB)
	}
}

// What is no packet is refused, and never without end.
func TestPacketLinesRefused(t *testing.T) {
	for _, rest := range []string{"", "        { \"stream_index\": 0", "        { \"stream_index\": 0,\n", "{\n" + strings.Repeat("x\n", maxPacketBytes), "{ \"stream_index\": x },\n", strings.Repeat("x", 2*maxPacketBytes)} {
		if _, err := readReport(strings.NewReader(packetsBegin+rest), func(int) {}); err == nil {
			t.Errorf("readReport of %.50q: no error", rest)
		}
	}
}
