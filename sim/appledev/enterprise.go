package appledev

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
)

// Bounds of packages, in bytes.
const (
	maxManifest = 1 << 20
	maxPackage  = 1 << 30
)

// codePackage is of MDMClientError. Apple documents no codes of packages that
// cannot be installed: this one is a choice.
const codePackage = 1

// Packages lists the installer packages on the device, by bundle identifier.
func (d *Device) Packages() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.packages)
}

// installEnterpriseApplication fetches what a manifest names, checks it and
// keeps it (contracts/apple.md 6). A Mac answers when it has the manifest; here
// the package is there as well, so that the answer is about all of it.
func (d *Device) installEnterpriseApplication(ctx context.Context, cmd *command) *report {
	if d.spec.Model.Family != Mac {
		return refused(link{domainMDM, codeNotSupported, "InstallEnterpriseApplication is for Macs."})
	}
	manifest := cmd.body.dict("Manifest")
	if url := cmd.body.text("ManifestURL"); manifest == nil && url != "" {
		resp, err := d.must(d.send(ctx, call{op: "Manifest", method: http.MethodGet, url: url, limit: maxManifest}))
		if err == nil {
			manifest, err = parseDict(resp.body)
		}
		if err != nil {
			return refused(link{domainClient, codePackage, "The manifest cannot be read: " + err.Error()})
		}
	}
	identifier, err := d.fetchPackage(ctx, manifest)
	if err != nil {
		return refused(link{domainClient, codePackage, err.Error()})
	}
	d.mu.Lock()
	if !slices.Contains(d.packages, identifier) {
		d.packages = append(d.packages, identifier)
	}
	d.mu.Unlock()
	return acknowledged(nil)
}

// fetchPackage downloads the only item of a manifest in its chunks, and returns
// its bundle identifier.
func (d *Device) fetchPackage(ctx context.Context, manifest dict) (string, error) {
	items := manifest.dicts("items")
	if len(items) != 1 {
		return "", fmt.Errorf("the manifest has %d items", len(items))
	}
	meta := items[0].dict("metadata")
	if meta.text("kind") != "software" || meta.text("bundle-identifier") == "" || meta.text("bundle-version") == "" || meta.text("title") == "" {
		return "", fmt.Errorf("the manifest does not describe the software: %v", meta)
	}
	for _, asset := range items[0].dicts("assets") {
		if asset.text("kind") == "software-package" {
			return meta.text("bundle-identifier"), d.fetchChunks(ctx, asset, meta.number("sizeInBytes"))
		}
	}
	return "", fmt.Errorf("the manifest has no software-package")
}

func (d *Device) fetchChunks(ctx context.Context, asset dict, size int) error {
	sums, chunk := asset.texts("sha256s"), asset.number("sha256-size")
	if chunk <= 0 || size <= 0 || size > maxPackage || (size+chunk-1)/chunk != len(sums) {
		return fmt.Errorf("a package of %d bytes in %d chunks of %d", size, len(sums), chunk)
	}
	for i, want := range sums {
		first, last := i*chunk, min((i+1)*chunk, size)-1
		resp, err := d.send(ctx, call{op: "Package", method: http.MethodGet, url: asset.text("url"), header: [2]string{"Range", fmt.Sprintf("bytes=%d-%d", first, last)},
			limit: int64(last - first + 1)})
		if err != nil {
			return fmt.Errorf("download of the package: %w", err)
		}
		if resp.status != http.StatusPartialContent {
			return fmt.Errorf("download of the package: %w", resp.problem())
		}
		if d.faults.ruinsPackage() && len(resp.body) > 0 {
			resp.body[len(resp.body)/2] ^= 1
		}
		if sum := sha256.Sum256(resp.body); hex.EncodeToString(sum[:]) != want {
			return fmt.Errorf("bytes %d to %d of the package do not have the checksum of the manifest", first, last)
		}
		if i == 0 && !bytes.HasPrefix(resp.body, []byte("xar!")) {
			return fmt.Errorf("the download is not an installer package")
		}
	}
	return nil
}
