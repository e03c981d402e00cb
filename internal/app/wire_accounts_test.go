package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/muster-mdm/muster/internal/enroll"
)

func TestTheSignInPageTakesGETOnly(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", http.NotFound)
	mountAccounts(mux, nil)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, enroll.PathSignIn, nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
		t.Errorf("%d, %q", w.Code, w.Header().Get("Allow"))
	}
}
