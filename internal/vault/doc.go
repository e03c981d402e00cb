// Package vault seals secrets with the server's key and opens them again. It
// is the only door by which a secret enters or leaves.
//
// Each value has a data key of its own (AES-256-GCM), wrapped by the server's
// key; the name of the value is authenticated with it, so that a value moved
// to another name does not open. The identifier of the wrapping key is stored
// beside the value: several keys may be held at once, the first seals, all
// open, and Rotate re-wraps what older keys sealed while the server runs.
package vault
