package queue

import (
	"fmt"
	"testing"

	"pibootd/pkg/transcode"
)

// A worker is asked for its board's log only if somebody receives it, and it is that
// worker's.
func TestLogsOfWorkers(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	for _, receive := range []func(string, []transcode.LogLine){
		nil, func(worker string, lines []transcode.LogLine) { got <- fmt.Sprint(worker, lines) },
	} {
		b := start(t, newDirs(t), func(o *Options) { o.OnLogs = receive })
		m := b.connect("pi1")
		var reply transcode.HelloReply
		m.ask(transcode.SubjectHello, transcode.Hello{}, &reply)
		if reply.Logs != (receive != nil) {
			t.Errorf("the worker is asked for its log: %t; want %t", reply.Logs, receive != nil)
		}
		var verdict transcode.Verdict
		m.ask(transcode.SubjectLogs, transcode.Logs{Lines: []transcode.LogLine{{AgeMS: 5, Severity: 3, Program: "sshd", Text: "hello"}}}, &verdict)
		if !verdict.Accepted {
			t.Errorf("verdict %+v; want it accepted", verdict)
		}
	}
	if lines := <-got; lines != "pi1[{5 3 sshd hello}]" {
		t.Errorf("received %s", lines)
	}
}
