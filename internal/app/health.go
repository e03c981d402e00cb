package app

import (
	"context"
	"net/http"
	"time"
)

// readyTimeout bounds the check of the database.
const readyTimeout = 3 * time.Second

// healthz says that the process lives.
func (a *App) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // a client that left needs no answer
}

// readyz says whether requests should be sent here: not while draining, nor
// without a database whose schema is current.
func (a *App) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if reason := a.notReady(ctx); reason != "" {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	a.healthz(w, r)
}

func (a *App) notReady(ctx context.Context) string {
	if a.draining.Load() {
		return "draining: the server is being stopped"
	}
	list, err := a.db.Migrations(ctx)
	if err != nil {
		return "the database does not answer"
	}
	for _, m := range list {
		if m.AppliedAt.IsZero() {
			return "the schema is not current: run `muster db migrate`"
		}
	}
	return ""
}
