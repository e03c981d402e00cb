package httpapi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/httpapi/httpapitest"
)

// field is a field of a form, in its order; a file when it has a file name.
type field struct{ name, file, value string }

func (b *bench) upload(t *testing.T, path string, fields ...field) *httptest.ResponseRecorder {
	t.Helper()
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	for _, f := range fields {
		var part io.Writer
		var err error
		if f.file != "" {
			part, err = form.CreateFormFile(f.name, f.file)
		} else {
			part, err = form.CreateFormField(f.name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, f.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, &buf)
	r.Header.Set("Authorization", "Bearer token-admin")
	r.Header.Set("Content-Type", form.FormDataContentType())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

var pkgField = field{"package", "tools.pkg", strings.Repeat("0123456789", 100)}

func TestBootstrapPackagesAreUploadedInEveryOrderAndUnderEveryPath(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		fields []field
		team   fleet.TeamID
	}{
		"without a team":      {"/api/v1/fleet/bootstrap", []field{pkgField}, 0},
		"the team first":      {"/api/latest/fleet/mdm/bootstrap", []field{{"team_id", "", "3"}, pkgField}, 3},
		"the team afterwards": {"/api/v1/fleet/mdm/apple/bootstrap", []field{pkgField, {"fleet_id", "", "3"}}, 3},
	} {
		b := newBench(t)
		w := b.upload(t, c.path, c.fields...)
		if w.Code != http.StatusOK || b.packages.Current == nil || b.packages.Current.TeamID != c.team || string(b.packages.Bytes) != pkgField.value {
			t.Errorf("%s: %d %s, %+v", name, w.Code, w.Body, b.packages.Current)
		}
	}
}

func TestUploadsThatAreRefusedLeaveNothing(t *testing.T) {
	large := field{"package", "tools.pkg", strings.Repeat("x", 1<<20+packageRoom)}
	for name, c := range map[string]struct {
		fields []field
		refuse error
		taken  bool
		status int
	}{
		"there is one":                          {fields: []field{pkgField}, taken: true, status: http.StatusConflict},
		"there is one, and the team is first":   {fields: []field{{"team_id", "", "0"}, pkgField}, taken: true, status: http.StatusConflict},
		"no package":                            {fields: []field{{"team_id", "", "3"}}, status: http.StatusBadRequest},
		"two packages":                          {fields: []field{pkgField, pkgField}, status: http.StatusBadRequest},
		"a team that is a word":                 {fields: []field{pkgField, {"team_id", "", "Office"}}, status: http.StatusBadRequest},
		"a team that does not exist":            {fields: []field{{"team_id", "", "99"}, pkgField}, status: http.StatusNotFound},
		"two teams":                             {fields: []field{pkgField, {"team_id", "", "3"}, {"fleet_id", "", "2"}}, status: http.StatusUnprocessableEntity},
		"a field that nobody knows":             {fields: []field{pkgField, {"team", "", "1"}}, status: http.StatusUnprocessableEntity},
		"more than this server takes":           {fields: []field{large}, status: http.StatusRequestEntityTooLarge},
		"what is not a package that Macs take":  {fields: []field{pkgField}, refuse: fleet.FieldErrorf(fleet.KindInvalid, "package", "not signed"), status: http.StatusUnprocessableEntity},
		"what is too large when it is measured": {fields: []field{pkgField}, refuse: fleet.Errorf(fleet.KindTooLarge, "too large"), status: http.StatusRequestEntityTooLarge},
	} {
		b := newBench(t)
		b.packages.Refuse = c.refuse
		if c.taken {
			b.packages.Current = &fleet.BootstrapPackage{Name: "old.pkg"}
		}
		w := b.upload(t, "/api/v1/fleet/bootstrap", c.fields...)
		if w.Code != c.status || b.packages.Received != 0 || (b.packages.Current != nil) != c.taken {
			t.Errorf("%s: %d %s, %d left", name, w.Code, w.Body, b.packages.Received)
		}
	}
	b := newBench(t)
	for path, want := range map[string]string{"/api/v1/fleet/bootstrap/3/metadata": "no bootstrap package of team \"Sales\"", "/api/v1/fleet/bootstrap/99/metadata": "there is no team 99"} {
		if status, answer, _ := b.call(t, http.MethodGet, path, ""); status != http.StatusNotFound || !strings.Contains(fmt.Sprint(answer), want) {
			t.Errorf("%s: %d %v", path, status, answer)
		}
	}
	b.packages.Current = &fleet.BootstrapPackage{Name: "old.pkg"}
	if w := b.upload(t, "/api/v1/fleet/bootstrap?replace=true", field{"team_id", "", "0"}, pkgField); w.Code != http.StatusOK || b.packages.Current.Name != "tools.pkg" {
		t.Errorf("replaced: %d %s", w.Code, w.Body)
	}
	if status, _, _ := b.call(t, http.MethodPost, "/api/v1/fleet/bootstrap", "{}"); status != http.StatusUnsupportedMediaType {
		t.Errorf("JSON: %d", status)
	}
}

func TestPackagesAreFetchedByTokenInParts(t *testing.T) {
	b := newBench(t)
	if w := b.upload(t, "/api/v1/fleet/bootstrap", pkgField); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	_, meta, _ := b.call(t, http.MethodGet, "/api/v1/fleet/bootstrap/0/metadata?for_update=true", "")
	sum := b.packages.Current.SHA256
	if meta["name"] != "tools.pkg" || meta["token"] != "secret-token" || meta["sha256"] != base64.StdEncoding.EncodeToString(sum[:]) || meta["signer"] != "Acme" {
		t.Errorf("%v", meta)
	}
	get := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w
	}
	const url = "/api/v1/fleet/bootstrap?token=secret-token"
	whole := get(http.MethodGet, url)
	if whole.Code != http.StatusOK || whole.Body.String() != pkgField.value || whole.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%d %v", whole.Code, whole.Header())
	}
	if w := get(http.MethodGet, url, "Range", "bytes=990-"); w.Code != http.StatusPartialContent || w.Body.String() != "0123456789" {
		t.Errorf("a range: %d %q", w.Code, w.Body)
	}
	if w := get(http.MethodGet, url, "Range", "bytes=5000-"); w.Code != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range beyond the end: %d", w.Code)
	}
	if w := get(http.MethodHead, url); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "1000" || w.Header().Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if w := get(http.MethodGet, url, "If-None-Match", whole.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("what is there already: %d", w.Code)
	}
	for _, path := range []string{"/api/v1/fleet/bootstrap?token=other", "/api/mdm/apple/bootstrap/manifest?token=other"} {
		if w := get(http.MethodGet, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := get(http.MethodGet, "/api/mdm/apple/bootstrap/manifest?token=secret-token"); w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
		t.Errorf("the manifest: %d %v", w.Code, w.Header())
	}
}

func TestBootstrapPackagesAreShownWhereSettingsAre(t *testing.T) {
	b := newBench(t)
	b.packages.Current = &fleet.BootstrapPackage{Name: "tools.pkg"}
	name := func(path string, keys ...string) any {
		_, body, _ := b.call(t, http.MethodGet, path, "")
		for _, k := range keys {
			body, _ = body[k].(map[string]any)
		}
		return body["bootstrap_package"]
	}
	if got := name("/api/v1/fleet/config", "mdm", "macos_setup"); got != "tools.pkg" {
		t.Errorf("the configuration: %v", got)
	}
	b.packages.Current.TeamID = 3
	if got := name("/api/v1/fleet/teams/3", "team", "mdm", "macos_setup"); got != "tools.pkg" {
		t.Errorf("a team: %v", got)
	}
	if got := name("/api/v1/fleet/config", "mdm", "macos_setup"); got != nil {
		t.Errorf("the configuration, of a team's package: %v", got)
	}
	_, summary, _ := b.call(t, http.MethodGet, "/api/v1/fleet/bootstrap/summary?team_id=3", "")
	if summary["installed"] != 3.0 || summary["pending"] != 2.0 || summary["failed"] != 1.0 {
		t.Errorf("%v", summary)
	}
	if status, _, _ := b.call(t, http.MethodDelete, "/api/v1/fleet/bootstrap/3", ""); status != http.StatusOK || b.packages.Current != nil {
		t.Errorf("deleting: %d", status)
	}
	if status, _, _ := b.call(t, http.MethodDelete, "/api/v1/fleet/bootstrap/3", ""); status != http.StatusNotFound {
		t.Errorf("deleting what is gone: %d", status)
	}
	h := &fleet.HostDetail{Host: fleet.Host{Platform: fleet.PlatformDarwin}, Package: &fleet.HostPackage{Name: "tools.pkg", Status: fleet.PackageFailed, Detail: "No."}}
	if s := toHostDetail(h, httpapitest.Now()).MDM.MacOSSetup; s.BootstrapPackageStatus != "failed" || s.Details != "No." || s.BootstrapPackageName != "tools.pkg" {
		t.Errorf("%+v", s)
	}
}
