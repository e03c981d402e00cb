package app

import (
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
