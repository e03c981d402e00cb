package fleet

import "time"

// SecretScope groups sealed values by what they are. Persisted by name.
type SecretScope string

// Scopes of sealed values.
const (
	ScopeAsset          SecretScope = "asset"           // name: an AssetName
	ScopeUnlockToken    SecretScope = "unlock_token"    // name: the enrollment key
	ScopeBootstrapToken SecretScope = "bootstrap_token" // name: the enrollment key
	ScopeVariable       SecretScope = "custom_variable" // name: what follows FLEET_SECRET_
	ScopeEnrollSecrets  SecretScope = "enroll_secrets"  // name: the team's key; a JSON list
	ScopeRenewal        SecretScope = "renewal"         // name: the enrollment key; an InstallProfile command
	ScopeServerToken    SecretScope = "server_token"    // name: the ServerTokenID
	// ScopeAction holds what is missing in a command's body: a property list of
	// its fields. Name: the command's UUID, or that of the request that waits.
	ScopeAction     SecretScope = "host_action"
	ScopeBypassCode SecretScope = "bypass_code" // name: the key of the device channel
	ScopeCommand    SecretScope = "command"     // name: the command's UUID; the whole command
)

// SecretRef names a sealed value. The name is part of what is authenticated,
// so a value moved to another name does not open.
type SecretRef struct {
	Scope SecretScope
	Name  string
}

// Sealed is a secret as it lies in the database: encrypted, authenticated,
// and labelled with the key that opens it.
type Sealed struct {
	KeyID string
	Data  []byte
}

// SecretWrite stores or deletes a sealed value.
type SecretWrite struct {
	Ref    SecretRef
	Value  Sealed
	Delete bool
}

// StoredSecret is a sealed value with its bookkeeping. Version grows with
// every write of the value or its wrapping.
type StoredSecret struct {
	Ref       SecretRef
	Value     Sealed
	Version   int64
	UpdatedAt time.Time
}
