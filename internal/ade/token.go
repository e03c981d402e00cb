package ade

import (
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// TokenState is how long a server token is still good.
type TokenState uint8

// States of server tokens.
const (
	TokenGood     TokenState = iota
	TokenExpiring            // within expiringBefore
	TokenExpired
)

// expiringBefore is when people are told to renew.
const expiringBefore = 30 * 24 * time.Hour

// StateOf judges a token by its date.
func StateOf(expiry, now time.Time) TokenState {
	switch {
	case !now.Before(expiry):
		return TokenExpired
	case expiry.Sub(now) <= expiringBefore:
		return TokenExpiring
	}
	return TokenGood
}

// Replaced says what becomes of syncing when a token is replaced by one whose
// holder Apple describes as account. The same server goes on where it stood,
// without the pause that the earlier token was in. Another one is refused
// unless forced, and then begins anew: cursors and profiles belong to one
// server. KindConflict: refused.
func Replaced(s fleet.DEPSync, serverUUID string, account fleet.DEPAccount, expiry time.Time, force bool) (fleet.DEPSync, error) {
	if account.ServerUUID != serverUUID {
		if !force {
			return s, fleet.FieldErrorf(fleet.KindConflict, "token", "this is the token of another server (%q of %s): upload one of the same server, or force it to begin anew",
				account.ServerName, account.OrgName)
		}
		s = Restarted(s)
		s.Restarts = 0
	}
	s = working(s)
	s.Expiry = expiry
	return s, nil
}

// Duplicate refuses a new token for a server that has one already.
func Duplicate(account fleet.DEPAccount, servers []string) error {
	for _, uuid := range servers {
		if uuid == account.ServerUUID {
			return fleet.FieldErrorf(fleet.KindConflict, "token", "there is a token of the server %q already: renew that one", account.ServerName)
		}
	}
	return nil
}
