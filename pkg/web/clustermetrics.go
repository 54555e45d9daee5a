package web

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/transcode/queue"
)

// A clusterCollector counts boards, workers and jobs when metrics are collected.
type clusterCollector struct{ s *Server }

var (
	clusterBoards  = prometheus.NewDesc("pibootd_boards", "Registered boards by state.", []string{"state"}, nil)
	clusterWorkers = prometheus.NewDesc("pibootd_workers_online", "Workers that report, of boards and of other machines.", nil, nil)
	clusterJobs    = prometheus.NewDesc("pibootd_jobs", "Jobs by state; those that are removed from the history no longer count.", []string{"state"}, nil)
	clusterFPS     = prometheus.NewDesc("pibootd_encoding_frames_per_second", "Frames that all workers together encode in a second.", nil, nil)
	clusterFree    = prometheus.NewDesc("pibootd_free_bytes", "Free space, to three digits.", []string{"dir"}, nil)
)

// collectTime limits a look at the cluster.
const collectTime = 10 * time.Second

// Describe implements prometheus.Collector.
func (c clusterCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{clusterBoards, clusterWorkers, clusterJobs, clusterFPS, clusterFree} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c clusterCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	boards, err := c.boards(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(clusterBoards, err)
	}
	for state, n := range boards {
		gauge(clusterBoards, n, string(state))
	}
	jobs, err := c.jobs(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(clusterJobs, err)
	}
	for state, n := range jobs {
		gauge(clusterJobs, n, string(state))
	}
	online, fps := c.workers()
	gauge(clusterWorkers, online)
	gauge(clusterFPS, fps)
	for name, dir := range map[string]string{"media": c.s.Info.MediaDir, "state": c.s.Info.StateDir} {
		free, _ := diskSpace(dir)
		gauge(clusterFree, float64(free), name)
	}
}

// boards counts each state, also those that no board has: a query of what is missing
// finds nothing to compare.
func (c clusterCollector) boards(ctx context.Context) (map[diagnosis.State]float64, error) {
	counts := map[diagnosis.State]float64{diagnosis.Well: 0, diagnosis.Booting: 0, diagnosis.Slow: 0, diagnosis.Stuck: 0, diagnosis.Off: 0}
	for _, board := range c.s.Registry.All() {
		d, err := c.s.Diagnoses.Of(ctx, board)
		if err != nil {
			return nil, err
		}
		counts[d.State]++
	}
	return counts, nil
}

func (c clusterCollector) jobs(ctx context.Context) (map[queue.State]float64, error) {
	all, err := c.s.Queue.All(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[queue.State]float64{queue.Queued: 0, queue.Running: 0, queue.Publishing: 0, queue.Done: 0, queue.Failed: 0, queue.Cancelled: 0}
	for _, job := range all {
		counts[job.State]++
	}
	return counts, nil
}

func (c clusterCollector) workers() (online, fps float64) {
	for _, worker := range c.s.Queue.Workers() {
		if worker.Online {
			online++
			fps += worker.FPS
		}
	}
	return online, fps
}
