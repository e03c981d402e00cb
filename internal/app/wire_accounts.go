package app

import (
	"context"
	"net/http"
	"time"

	"github.com/muster-mdm/muster/internal/apple"
	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/store"
)

// accountTokens are those of account-driven enrollment, swept.
func (a *App) accountTokens() *store.AccountTokens {
	tokens := store.NewAccountTokens(a.db)
	a.sweep = append(a.sweep, func(ctx context.Context, now time.Time) error {
		return tokens.DeleteExpired(ctx, now.Add(-challengeLife))
	})
	return tokens
}

// mountAccounts puts the endpoints of account-driven enrollment on the mux.
func mountAccounts(mux *http.ServeMux, accounts *enroll.Accounts) {
	h := apple.NewAccounts(accounts, apple.AccountPaths{Enroll: enroll.PathAccount, SignIn: enroll.PathSignIn})
	mux.HandleFunc("GET "+enroll.PathDiscovery, h.Discover)
	mux.HandleFunc("GET "+enroll.PathWellKnown, h.Discover)
	mux.HandleFunc("GET "+enroll.PathSignIn, h.SignIn)
	mux.HandleFunc(enroll.PathSignIn, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "This page takes GET.", http.StatusMethodNotAllowed)
	})
	mux.HandleFunc("POST "+enroll.PathAccount, h.Enroll)
}
