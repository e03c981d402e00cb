package fleet

import "time"

// BootstrapPackage is an installer that Macs of a team get while they wait in
// Setup Assistant.
type BootstrapPackage struct {
	ID         int64
	TeamID     TeamID
	Name       string // of the file
	Identifier string // of the product inside; may be empty
	Version    string
	Signer     string // name in the certificate of the signature
	Size       int64
	SHA256     [32]byte
	// Pieces are the checksums of the parts that it is kept in, each of
	// PackagePiece bytes but the last.
	Pieces    [][32]byte
	Token     string // unguessable, part of its URL
	CreatedAt time.Time
}

// PackagePiece is the size of the parts that a package is kept and checked in,
// in bytes.
const PackagePiece = 4 << 20

// PackageStatus is what became of a bootstrap package on a host. Persisted:
// append only.
type PackageStatus uint8

// Statuses of a bootstrap package.
const (
	PackageNone      PackageStatus = 0
	PackagePending   PackageStatus = 1
	PackageInstalled PackageStatus = 2
	PackageFailed    PackageStatus = 3
)

// String is the spelling of the API.
func (s PackageStatus) String() string {
	switch s {
	case PackagePending:
		return "pending"
	case PackageInstalled:
		return "installed"
	case PackageFailed:
		return "failed"
	case PackageNone:
	}
	return ""
}

// HostPackage is a bootstrap package on a host.
type HostPackage struct {
	Name   string
	Status PackageStatus
	Detail string // why it failed
}

// PackageSummary counts hosts by what became of their bootstrap package.
type PackageSummary struct{ Installed, Pending, Failed int }
