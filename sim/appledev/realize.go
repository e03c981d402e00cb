package appledev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// maxAsset bounds the download of an asset or a profile, in bytes.
const maxAsset = 10 << 20

// realize makes true what a channel's active configurations say: downloads
// assets, installs and removes profiles, and notes the other effects. A download
// that failed is tried again at the next connection; the error of one that had
// no answer is returned, so that it comes soon.
func (d *Device) realize(ctx context.Context, e *enrollment, c *channel) error {
	d.mu.Lock()
	for _, x := range c.ddm.held {
		if x.outcome != nil && x.outcome.retry {
			x.outcome = nil
		}
	}
	verdicts := d.judge(c)
	d.mu.Unlock()
	failed := d.download(ctx, e, c, verdicts, "asset", d.fetchAsset)
	d.mu.Lock()
	verdicts = d.judge(c) // a failed asset fails its configuration
	d.mu.Unlock()
	failed = errors.Join(failed, d.download(ctx, e, c, verdicts, "configuration", d.fetchProfile))
	d.mu.Lock()
	defer d.mu.Unlock()
	verdicts = d.judge(c)
	d.dropProfiles(c, verdicts)
	c.ddm.effects = d.effectsOf(c, verdicts)
	return failed
}

// download does what active declarations of a kind want to have downloaded.
func (d *Device) download(ctx context.Context, e *enrollment, c *channel, verdicts map[string]verdict, kind string,
	do func(context.Context, *enrollment, *channel, *declaration) (*outcome, error),
) error {
	var failed error
	for _, x := range sorted(c.ddm.held) {
		if x.kind != kind || x.outcome != nil || !verdicts[x.identifier].active {
			continue
		}
		result, err := do(ctx, e, c, x)
		failed = errors.Join(failed, err)
		d.mu.Lock()
		x.outcome = result
		d.mu.Unlock()
	}
	return failed
}

// fetchAsset downloads and verifies an asset that refers to data; what it is for
// is not modeled.
func (d *Device) fetchAsset(ctx context.Context, e *enrollment, _ *channel, x *declaration) (*outcome, error) {
	contents := dict(x.contents())
	reference := contents.dict("Reference")
	if reference == nil {
		return nil, nil
	}
	id := e.identity
	if contents.dict("Authentication").text("Type") != "MDM" {
		id = nil
	}
	answer, err := d.get(ctx, "asset", reference.text("DataURL"), id)
	if err != nil {
		return &outcome{retry: true, reason: &reason{code: "Error.AssetCannotBeDownloaded", description: err.Error()}}, unanswered(err)
	}
	return &outcome{reason: verify(reference, answer)}, nil
}

// verify holds an answer against an asset's Reference; nil: it is the asset.
func verify(reference dict, answer *response) *reason {
	unlike := func(format string, args ...any) *reason {
		return &reason{code: "Error.AssetCannotBeVerified", description: fmt.Sprintf(format, args...)}
	}
	kind, _, _ := strings.Cut(reference.text("ContentType"), ";")
	if kind != "" && !strings.EqualFold(kind, answer.contentType) {
		return unlike("the content type is %q and not %q", answer.contentType, kind)
	}
	size, is := reference["Size"].(float64)
	if is && size == 0 {
		return nil // then the hash does not count either
	}
	if is && int(size) != len(answer.body) {
		return unlike("%d bytes came and not %v", len(answer.body), size)
	}
	hash := sha256.Sum256(answer.body)
	if want := reference.text("Hash-SHA-256"); want != "" && !strings.EqualFold(want, hex.EncodeToString(hash[:])) {
		return unlike("the hash is %x and not %s", hash, want)
	}
	return nil
}

// fetchProfile downloads and installs the profile of a legacy configuration. One
// that is interactive waits for a person, who is not modeled.
func (d *Device) fetchProfile(ctx context.Context, e *enrollment, c *channel, x *declaration) (*outcome, error) {
	if x.declType != typeLegacy {
		return nil, nil
	}
	fail := func(err error) *outcome {
		return &outcome{reason: &reason{code: "Error.ConfigurationCannotBeApplied", description: err.Error()}}
	}
	answer, err := d.get(ctx, "legacy profile", dict(x.contents()).text("ProfileURL"), e.identity)
	if err != nil {
		result := fail(err)
		result.retry = true
		return result, unanswered(err)
	}
	p, err := d.o.Library.parse(answer.body)
	if err == nil {
		err = d.place(ctx, c.which, installed{profile: p, managed: true, declaration: x.identifier})
	}
	if err != nil {
		return fail(err), nil
	}
	return &outcome{profile: p.identifier}, nil
}

// get downloads with an identity or, when it is nil, without.
func (d *Device) get(ctx context.Context, op, url string, id *identity) (*response, error) {
	c := call{op: op, method: http.MethodGet, url: url, limit: maxAsset}
	if id != nil {
		var err error
		c.signature, err = d.sign(nil, id)
		if err != nil {
			return nil, err
		}
	}
	return d.must(d.send(ctx, c))
}

// unanswered returns an error that is not the server's answer.
func unanswered(err error) error {
	if isStatus(err) || errors.Is(err, errTooLarge) {
		return nil
	}
	return err
}

// dropProfiles removes the profiles of declarations that are gone, not in
// effect, or have another profile now. One whose new version could not be
// downloaded yet stays. Call it with mu held.
func (d *Device) dropProfiles(c *channel, verdicts map[string]verdict) {
	d.stores[c.which].remove(func(p installed) bool {
		if p.declaration == "" {
			return false
		}
		x := c.ddm.held[p.declaration]
		if x == nil || x.outcome == nil {
			return true
		}
		return !x.outcome.retry && (!verdicts[x.identifier].active || x.outcome.profile != p.profile.identifier)
	})
	for id, x := range c.ddm.held {
		if x.declType == typeLegacy && x.outcome != nil && x.outcome.reason == nil && !verdicts[id].active {
			x.outcome = nil // installed anew when it comes into effect again
		}
	}
}

// effectsOf collects what active configurations make of the device. Of several
// updates the one that is due first counts. Call it with mu held.
func (d *Device) effectsOf(c *channel, verdicts map[string]verdict) effects {
	var out effects
	for _, x := range sorted(c.ddm.held) {
		if !verdicts[x.identifier].active {
			continue
		}
		contents := dict(x.contents())
		switch x.declType {
		case typePasscodeDecl:
			out.passcode = true
		case typeAppManaged:
			out.apps = append(out.apps, managedApp(x, contents))
		case typeEnforcement:
			u := &enforcement{
				declaration: x.identifier, version: contents.text("TargetOSVersion"),
				build: contents.text("TargetBuildVersion"), at: contents.text("TargetLocalDateTime"),
			}
			due := out.update == nil || u.at < out.update.at
			if due && compareVersions(u.version, d.osVersion) > 0 {
				out.update = u
			}
		}
	}
	return out
}

// managedApp is an entry of app.managed.list. Installing is not modeled: it is
// there at once.
func managedApp(x *declaration, contents dict) map[string]any {
	id := contents.text("BundleID")
	for _, key := range []string{"AppStoreID", "ManifestURL", "AppComposedIdentifier"} {
		if id == "" {
			id = contents.text(key)
		}
	}
	return map[string]any{"identifier": id, "declaration-identifier": x.identifier, "state": "managed"}
}
