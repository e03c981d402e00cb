package app

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/guardian"
	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/pki"
	"github.com/muster-mdm/muster/internal/store"
)

// warnEvery is how often it is looked whether something expires.
const warnEvery = time.Hour

// wireGuardian builds the watch over everything that expires.
func (a *App) wireGuardian(authority *pki.Authority, push *pki.Push) *guardian.Service {
	pushes := func(ctx context.Context) ([]fleet.DatedThing, error) {
		cert, err := push.Certificate(ctx)
		if fleet.KindOf(err) == fleet.KindNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []fleet.DatedThing{{Kind: fleet.DatedPushCertificate, Name: cert.Topic, NotAfter: cert.NotAfter}}, nil
	}
	ca := func(context.Context) ([]fleet.DatedThing, error) {
		cert := authority.Certificate()
		return []fleet.DatedThing{{Kind: fleet.DatedAuthority, Name: cert.Subject.CommonName, NotAfter: cert.NotAfter}}, nil
	}
	watch := guardian.New(store.NewRenewals(a.db), store.NewExpiryWarnings(a.db), a.clock, pushes, ca, datedTokens(store.NewServerTokens(a.db)))
	a.Jobs = append(a.Jobs, jobs.Job{Name: "guardian", Every: warnEvery, Run: watch.Round})
	a.metrics.registry.MustRegister(expiries{watch})
	return watch
}

// datedTokens tells when server tokens expire. Servers may have one name at
// Apple: the id tells them apart, and is first so that no limit of a name's
// length cuts it off.
func datedTokens(tokens *store.ServerTokens) guardian.Source {
	return func(ctx context.Context) ([]fleet.DatedThing, error) {
		list, err := tokens.List(ctx)
		out := make([]fleet.DatedThing, 0, len(list))
		for i := range list {
			name := fmt.Sprintf("%d: %s", list[i].Sync.TokenID, list[i].Account.ServerName)
			out = append(out, fleet.DatedThing{Kind: fleet.DatedServerToken, Name: name, NotAfter: list[i].Sync.Expiry})
		}
		return out, err
	}
}

// expiries tells Prometheus when things expire.
type expiries struct{ watch *guardian.Service }

// expiringDays is how far the count of identities looks ahead.
const expiringDays = 30

var (
	expiryTime = prometheus.NewDesc("muster_expiry_timestamp_seconds", "When a certificate or token of the server expires.", []string{"kind", "name"}, nil)
	identities = prometheus.NewDesc("muster_identities_expiring", "Device identities in use that expire within 30 days, or have.", nil, nil)
)

// Describe implements prometheus.Collector.
func (expiries) Describe(c chan<- *prometheus.Desc) {
	c <- expiryTime
	c <- identities
}

// Collect implements prometheus.Collector.
func (e expiries) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	things, err := e.watch.Things(ctx)
	if err != nil {
		c <- prometheus.NewInvalidMetric(expiryTime, err)
	}
	for _, t := range things {
		c <- prometheus.MustNewConstMetric(expiryTime, prometheus.GaugeValue, float64(t.NotAfter.Unix()), t.Kind, t.Name)
	}
	near, err := e.watch.Expiring(ctx, expiringDays)
	if err != nil {
		c <- prometheus.NewInvalidMetric(identities, err)
		return
	}
	n := 0
	for _, count := range near.Identities.Weeks {
		n += count
	}
	c <- prometheus.MustNewConstMetric(identities, prometheus.GaugeValue, float64(n))
}
