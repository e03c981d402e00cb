package httpapi

import (
	"embed"
	"net/http"
)

// The reader's page of the API, which needs nothing from outside.
//
//go:embed docs
var docsFiles embed.FS

// docsPolicy lets the page load itself and ask this server.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// serveDocs serves the OpenAPI document and its page.
func (s *API) serveDocs() {
	s.main.HandleFunc("GET /api/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		document, err := s.openAPI()
		if err != nil {
			writeError(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document) // a client that went away needs no answer
	})
	for path, file := range map[string]string{"/api/docs": "docs/index.html", "/api/docs/app.js": "docs/app.js", "/api/docs/style.css": "docs/style.css"} {
		s.main.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", docsPolicy)
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, docsFiles, file)
		})
	}
}
