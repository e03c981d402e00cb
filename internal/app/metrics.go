package app

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/muster-mdm/muster/internal/kit/httpx"
	"github.com/muster-mdm/muster/internal/store"
)

// metrics are what Prometheus may read.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(a *App) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_http_requests_total", Help: "Answered requests."}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "muster_http_request_duration_seconds", Help: "Time to answer.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10}}, []string{"route"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "muster_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": a.options.Version.Version, "revision": a.options.Version.Revision}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(jobRuns{store.NewLeases(a.db)})
	for name, pool := range a.db.Pools() {
		m.registry.MustRegister(collectors.NewDBStatsCollector(pool, name))
	}
	return m
}

// observe counts one request. Routes are patterns, so there are few.
func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "other"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// handler serves the metrics to whoever has the token; without a token, to
// the machine itself.
func (m *metrics) handler(token string) http.Handler {
	serve := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mayRead(r, token) {
			http.Error(w, "metrics are for the machine itself, or for the bearer of metrics.token", http.StatusForbidden)
			return
		}
		serve.ServeHTTP(w, r)
	})
}

func mayRead(r *http.Request, token string) bool {
	if token == "" {
		// Behind a proxy on this machine everybody looks local.
		if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Via") != "" {
			return false
		}
		addr, err := netip.ParseAddr(httpx.Address(r.Context()))
		return err == nil && addr.IsLoopback()
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}

// jobRuns tells when each job last succeeded, so that one that died is seen.
type jobRuns struct{ leases *store.Leases }

var (
	jobSucceeded = prometheus.NewDesc("muster_job_last_success_timestamp_seconds", "When the job last succeeded on any replica; 0: never.", []string{"job"}, nil)
	jobFailing   = prometheus.NewDesc("muster_job_failing", "1 while the job's last run failed.", []string{"job"}, nil)
)

// Describe implements prometheus.Collector.
func (jobRuns) Describe(c chan<- *prometheus.Desc) {
	c <- jobSucceeded
	c <- jobFailing
}

// Collect implements prometheus.Collector.
func (j jobRuns) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	runs, err := j.leases.Runs(ctx)
	if err != nil {
		c <- prometheus.NewInvalidMetric(jobSucceeded, err)
		return
	}
	for _, r := range runs {
		at, failing := 0.0, 0.0
		if !r.SucceededAt.IsZero() {
			at = float64(r.SucceededAt.UnixMilli()) / 1000
		}
		if r.LastError != "" {
			failing = 1
		}
		c <- prometheus.MustNewConstMetric(jobSucceeded, prometheus.GaugeValue, at, r.Name)
		c <- prometheus.MustNewConstMetric(jobFailing, prometheus.GaugeValue, failing, r.Name)
	}
}

// scrapeTimeout bounds what a scrape may ask of the database.
const scrapeTimeout = 5 * time.Second
