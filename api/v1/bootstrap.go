package apiv1

import "time"

// BootstrapPackage is the installer that Macs of a team get while they wait in
// Setup Assistant.
type BootstrapPackage struct {
	Name      string    `json:"name" doc:"Of the file"`
	TeamID    int64     `json:"team_id" doc:"0: for hosts without a team"`
	SHA256    []byte    `json:"sha256" doc:"Of the file, in base64"`
	Token     string    `json:"token" doc:"Anybody who has it can download the package"`
	CreatedAt time.Time `json:"created_at"`

	Size       int64  `json:"size" doc:"Muster's own: in bytes"`
	Identifier string `json:"identifier" doc:"Muster's own: of the product inside; empty when the package does not say"`
	Version    string `json:"version" doc:"Muster's own"`
	Signer     string `json:"signer" doc:"Muster's own: the name in the signer's certificate; whether it is trusted is for the Mac to say"`
}

// BootstrapPackageSummary counts hosts by what became of their package.
type BootstrapPackageSummary struct {
	Installed int `json:"installed"`
	Pending   int `json:"pending"`
	Failed    int `json:"failed"`
}

// InstallPackageRequest names Macs.
type InstallPackageRequest struct {
	Hosts []int64 `json:"hosts" nullable:"false" doc:"Ids of Macs; other hosts answer with an error"`
}
