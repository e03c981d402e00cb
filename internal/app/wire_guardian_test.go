package app

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/guardian"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func TestServerTokensOfOneNameAreTwoThings(t *testing.T) {
	ctx, now := context.Background(), storetest.Clock()()
	db := storetest.Open(t, store.SQLite)
	tokens := store.NewServerTokens(db)
	seal := func(ref fleet.SecretRef) (fleet.SecretWrite, error) {
		return fleet.SecretWrite{Ref: ref, Value: fleet.Sealed{KeyID: "k", Data: []byte("x")}}, nil
	}
	name := strings.Repeat("Acme", 60)
	for i := range 2 {
		v := fleet.ServerToken{Account: fleet.DEPAccount{ServerUUID: fmt.Sprint(i), ServerName: name}, Sync: fleet.DEPSync{Expiry: now.AddDate(0, 0, 5+i)}}
		if err := tokens.Create(ctx, &v, &fleet.EnrollmentProfile{Name: fmt.Sprint("ADE ", i), Kind: fleet.EnrollmentADE, Token: fmt.Sprint(i)}, seal); err != nil {
			t.Fatal(err)
		}
	}
	watch := guardian.New(store.NewRenewals(db), store.NewExpiryWarnings(db), func() time.Time { return now }, datedTokens(tokens))
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(expiries{watch})
	if _, err := metrics.Gather(); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := watch.Round(ctx); err != nil {
			t.Fatal(err)
		}
	}
	events, err := store.NewEvents(db).Since(ctx, 0, 0, 100)
	warnings := 0
	for _, e := range events {
		if e.Kind == fleet.EventExpiryWarning {
			warnings++
		}
	}
	if err != nil || warnings != 2 {
		t.Errorf("%d warnings of two tokens, %v", warnings, err)
	}
}
