// Package access decides who may use the API: the first user (setup), logins,
// sessions and API tokens, users, and which role may do what.
//
// A session or API token is 32 random bytes in URL-safe base64; only its
// SHA-256 is kept. A login lasts while it is used, an API-only user's token
// until it is deleted. Passwords are kept as argon2id, and their hashing is
// bounded, so that logins cannot eat the machine.
//
// An unknown e-mail and a wrong password cost the same work and get the same
// answer. The last admin can be neither removed nor demoted. What a role may
// do is one pure table (Can) with default deny.
package access
