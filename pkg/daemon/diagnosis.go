package daemon

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/bootconfig"
	"pibootd/pkg/config"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/transcode/queue"
)

func (d *daemon) newDiagnoses() *diagnosis.Tracker {
	started := time.Now()
	mismatches := &cache{}
	facts := func(board registry.Pi, model string, boots bool) diagnosis.Facts {
		f := diagnosis.FactsOf(board)
		f.Started, f.Unseen, f.Elsewhere = started, d.nfs == nil, d.cfg.DHCP.Mode == config.Proxy
		d.addWorker(&f)
		if boots {
			d.addRoot(&f, board, bootconfig.Model(model))
			f.Mismatch = func() string {
				return mismatches.get(board.Serial, func() string { return d.mismatch(board, f.Kernel) })
			}
		}
		return f
	}
	return &diagnosis.Tracker{Timeline: d.state.timeline, Facts: facts, Boards: d.state.registry.All, Log: d.log, Pace: d.pace}
}

// addWorker adds what a board's worker reports.
func (d *daemon) addWorker(f *diagnosis.Facts) {
	for _, w := range d.queue.Workers() {
		if w.Name == f.Serial.String() {
			f.Seen, f.Health = seen(w), healthOf(w)
		}
	}
}

// addRoot adds what a board finds in its root. model is "" if it is not known.
func (d *daemon) addRoot(f *diagnosis.Facts, board registry.Pi, model bootconfig.Model) {
	var models []bootconfig.Model
	if model != "" {
		models = append(models, model)
	}
	load, err := d.policy.LoadsAs(board, models...)
	if err != nil {
		f.NoFiles = err.Error()
	}
	f.Model, f.Kernel = string(load.Model), load.Names.Kernel
	f.Needs, f.Missing = load.Names.Needs(), load.Missing
	f.Is32Bit = board.Arch == pi.ARM64 && len(f.Missing) == 0 && bootconfig.Is32Bit(f.Kernel)
	f.NoInit = d.lacksInit(board)
	f.Logged = func(since time.Time) string { return d.logged(board, since) }
}

// A cache keeps what takes a second to find out about a board's root: its kernel is unpacked.
type cache struct {
	mu   sync.Mutex
	told map[pi.Serial]cached
}

type cached struct {
	at   time.Time
	text string
}

// cacheTime is how long what is cached is taken for true.
const cacheTime = 5 * time.Minute

func (c *cache) get(serial pi.Serial, find func() string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	is, ok := c.told[serial]
	if !ok || time.Since(is.at) > cacheTime {
		is = cached{time.Now(), find()}
		if c.told == nil {
			c.told = map[pi.Serial]cached{}
		}
		c.told[serial] = is
	}
	return is.text
}

func seen(w queue.Worker) time.Time {
	if !w.Online {
		return time.Time{}
	}
	return w.LastSeen
}

func healthOf(w queue.Worker) diagnosis.Health {
	m := w.Hello.Machine
	return diagnosis.Health{
		Locked: w.Hello.Locked, NoFFmpeg: w.Hello.NoFFmpeg, Throttled: m.Throttled, ClockAhead: w.Ahead,
		RootReadOnly: m.RootReadOnly, RootSize: m.RootSize, RootFree: m.RootFree,
	}
}

// lacksInit reports whether there is nothing in a board's root that its kernel could start.
func (d *daemon) lacksInit(board registry.Pi) bool {
	made, _ := d.policy.Preview(board) // without boot files, it has no arguments
	lacks, err := d.fleet.Roots.LacksInit(board.Serial, made.CommandLine)
	return lacks && err == nil
}

// logged returns what a board's kernel has logged last since then; "" if nothing.
func (d *daemon) logged(board registry.Pi, since time.Time) string {
	lines, err := d.boardLog.Lines(context.Background(), boardlog.Query{Board: board.Serial.String(), Last: 1})
	if err != nil || len(lines) == 0 || lines[0].At.Before(since) || !lines[0].IsKernel() {
		return ""
	}
	return lines[0].Text
}

// mismatch returns why the kernel that a board loads does not match its root.
func (d *daemon) mismatch(board registry.Pi, kernel string) string {
	found, err := d.fleet.Roots.CheckBoot(board.Serial, "")
	i := slices.IndexFunc(found, func(m bootcheck.Mismatch) bool { return strings.EqualFold(path.Base(m.File), path.Base(kernel)) })
	if err != nil || i < 0 {
		return ""
	}
	return found[i].String()
}
