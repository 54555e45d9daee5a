package web

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pibootd/pkg/dhcp"
	"pibootd/pkg/nfs"
	"pibootd/pkg/tftp"
)

// metricsHandler serves metrics to Prometheus: those of the cluster, those in Metrics,
// the number of lost timeline events, and those of the process.
func (s *Server) metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "pibootd_timeline_events_dropped_total", Help: "Events that were lost because the disk did not keep up.",
		}, func() float64 { return float64(s.Timeline.Dropped()) }),
	)
	registry.MustRegister(clusterCollector{s})
	registry.MustRegister(s.Metrics...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// NFSMetrics counts the calls of an NFS server by export and procedure.
func NFSMetrics(server *nfs.Server) prometheus.Collector { return nfsCollector{server} }

// An nfsCollector converts the NFS server's own counters to metrics when they are
// collected, so that counting costs the server nothing more.
type nfsCollector struct{ server *nfs.Server }

var (
	nfsLabels  = []string{"export", "procedure"}
	nfsSeconds = prometheus.NewDesc("pibootd_nfs_call_seconds", "Time from a call's receipt to its result.", nfsLabels, nil)
	nfsErrors  = prometheus.NewDesc("pibootd_nfs_errors_total", "Calls that were answered by an error.", append(nfsLabels, "error"), nil)
	nfsIn      = prometheus.NewDesc("pibootd_nfs_received_bytes_total", "Bytes of arguments.", nfsLabels, nil)
	nfsOut     = prometheus.NewDesc("pibootd_nfs_sent_bytes_total", "Bytes of results.", nfsLabels, nil)
)

// Describe implements prometheus.Collector.
func (c nfsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{nfsSeconds, nfsErrors, nfsIn, nfsOut} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c nfsCollector) Collect(out chan<- prometheus.Metric) {
	for _, p := range c.server.Stats() {
		buckets := map[float64]uint64{}
		for _, b := range p.Latency {
			buckets[b.AtMost.Seconds()] = b.Calls
		}
		out <- prometheus.MustNewConstHistogram(nfsSeconds, p.Calls, p.Took.Seconds(), buckets, p.Export, p.Procedure)
		out <- prometheus.MustNewConstMetric(nfsIn, prometheus.CounterValue, float64(p.BytesIn), p.Export, p.Procedure)
		out <- prometheus.MustNewConstMetric(nfsOut, prometheus.CounterValue, float64(p.BytesOut), p.Export, p.Procedure)
		for why, n := range p.Failed {
			out <- prometheus.MustNewConstMetric(nfsErrors, prometheus.CounterValue, float64(n), p.Export, p.Procedure, why)
		}
	}
}

// DHCPMetrics counts the messages of a DHCP server.
func DHCPMetrics(server *dhcp.Server) prometheus.Collector { return dhcpCollector{server} }

// A dhcpCollector does the same for the DHCP server.
type dhcpCollector struct{ server *dhcp.Server }

var (
	dhcpReceived = prometheus.NewDesc("pibootd_dhcp_received_total", "Well-formed messages of clients.", []string{"kind"}, nil)
	dhcpSent     = prometheus.NewDesc("pibootd_dhcp_sent_total", "Answers.", []string{"kind"}, nil)
	dhcpDropped  = prometheus.NewDesc("pibootd_dhcp_dropped_total", "Packets without an answer, or whose answer did not leave.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (c dhcpCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{dhcpReceived, dhcpSent, dhcpDropped} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c dhcpCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, n uint64, label string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), label)
	}
	stats := c.server.Stats()
	for kind, n := range stats.Received {
		counter(dhcpReceived, n, string(kind))
	}
	for kind, n := range stats.Sent {
		counter(dhcpSent, n, string(kind))
	}
	for reason, n := range map[string]uint64{
		"malformed": stats.Malformed, "unanswered": stats.Unanswered, "overload": stats.Overload, "unsent": stats.Unsent, "panic": stats.Panics,
	} {
		counter(dhcpDropped, n, reason)
	}
}

// TFTPMetrics counts the transfers of a TFTP server.
func TFTPMetrics(server *tftp.Server) prometheus.Collector { return tftpCollector{server} }

// A tftpCollector does the same for the TFTP server.
type tftpCollector struct{ server *tftp.Server }

var (
	tftpTransfers = prometheus.NewDesc("pibootd_tftp_transfers_total", "Transfers that have ended.", []string{"outcome"}, nil)
	tftpBytes     = prometheus.NewDesc("pibootd_tftp_sent_bytes_total", "Bytes that clients have acknowledged.", nil, nil)
	tftpDropped   = prometheus.NewDesc("pibootd_tftp_dropped_total", "Requests that began no transfer.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (c tftpCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{tftpTransfers, tftpBytes, tftpDropped} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c tftpCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	stats := c.server.Stats()
	counter(tftpBytes, stats.Bytes)
	for outcome, n := range stats.Transfers {
		counter(tftpTransfers, n, string(outcome))
	}
	for reason, n := range map[string]uint64{"malformed": stats.Malformed, "repeated": stats.Repeated, "overload": stats.Dropped} {
		counter(tftpDropped, n, reason)
	}
}
