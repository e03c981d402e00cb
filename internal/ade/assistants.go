package ade

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/muster-mdm/muster/internal/codec/adeprofile"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
)

// defaultName is the name at Apple of the profile of teams that have none of
// their own.
const defaultName = "Muster default enrollment profile"

// refusedFor is how long a definition that Apple refused is not tried again.
const refusedFor = time.Hour

// AssistantStore keeps enrollment profiles for Setup Assistant, and what was
// defined at Apple.
type AssistantStore interface {
	// Assistant is nil where a team has none of its own.
	Assistant(ctx context.Context, team fleet.TeamID) (*fleet.SetupAssistant, error)
	PutAssistant(ctx context.Context, v *fleet.SetupAssistant, events ...fleet.Event) error
	DeleteAssistant(ctx context.Context, team fleet.TeamID, events ...fleet.Event) (found bool, err error)
	// Teams lists the teams that have hosts of the token's devices.
	Teams(ctx context.Context, token fleet.ServerTokenID) ([]fleet.DEPTeam, error)
	PutProfile(ctx context.Context, token fleet.ServerTokenID, team fleet.TeamID, hash [32]byte, profile string) error
	// Refuse notes that Apple did not take a definition.
	Refuse(ctx context.Context, token fleet.ServerTokenID, team fleet.DEPTeam, events ...fleet.Event) error
}

// Definer defines profiles at Apple. Errors of the service are
// *fleet.DEPError.
type Definer interface {
	DefineProfile(ctx context.Context, token fleet.ServerTokenID, definition []byte) (profile string, err error)
}

// Links tells where devices of a server token ask for their enrollment
// profile.
type Links interface {
	DEPEnrollURL(ctx context.Context, token fleet.ServerTokenID) (string, error)
}

// Assistants keeps the teams' enrollment profiles for Setup Assistant and has
// them defined at Apple, each content once.
type Assistants struct {
	store  AssistantStore
	tokens TokenStore
	apple  Definer
	links  Links
	clock  func() time.Time
	syncs  *wake.Bell
}

// NewAssistants returns the profiles over a store. syncs may be nil.
func NewAssistants(store AssistantStore, tokens TokenStore, apple Definer, links Links, clock func() time.Time, syncs *wake.Bell) *Assistants {
	return &Assistants{store: store, tokens: tokens, apple: apple, links: links, clock: clock, syncs: syncs}
}

// Assistant returns the profile of a team; KindNotFound: it has the default.
func (a *Assistants) Assistant(ctx context.Context, team fleet.TeamID) (*fleet.SetupAssistant, error) {
	v, err := a.store.Assistant(ctx, team)
	if err == nil && v == nil {
		err = fleet.Errorf(fleet.KindNotFound, "the team has no enrollment profile for Setup Assistant of its own: its hosts get the default one")
	}
	return v, err
}

// Default is the profile of teams that have none of their own.
func (a *Assistants) Default() (*fleet.SetupAssistant, error) {
	body, err := adeprofile.Default(defaultName).Canonical()
	return &fleet.SetupAssistant{Name: defaultName, Body: body}, err
}

// Set checks a profile, has it defined at Apple if there is a server token that
// works, and stores it. The warnings are for people; one says that Apple did not
// check it.
func (a *Assistants) Set(ctx context.Context, actor fleet.Actor, team fleet.TeamID, name string, body []byte) (*fleet.SetupAssistant, []string, error) {
	p, warnings, err := adeprofile.Parse(body, adeprofile.Options{})
	if err != nil {
		return nil, warnings, err
	}
	v := &fleet.SetupAssistant{TeamID: team, Name: name, UploadedAt: a.clock()}
	if v.Name == "" {
		v.Name = p.Name()
	}
	if v.Body, err = p.Canonical(); err != nil {
		return nil, nil, err
	}
	unchecked, err := a.tryOut(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if unchecked != "" {
		warnings = append(warnings, unchecked)
	}
	err = a.store.PutAssistant(ctx, v, fleet.Event{Kind: fleet.EventSetupAssistant, Actor: actor, At: v.UploadedAt,
		Details: details(map[string]any{"change": "set", "team_id": team, "name": v.Name})})
	if err == nil {
		a.syncs.Ring()
	}
	return v, warnings, err
}

// tryOut has a profile defined with the first token that works: Apple knows
// more rules than we do. It says why none was tried.
func (a *Assistants) tryOut(ctx context.Context, p adeprofile.Profile) (unchecked string, err error) {
	tokens, err := a.tokens.List(ctx)
	if err != nil {
		return "", err
	}
	reason := "there is no server token"
	for _, t := range tokens {
		switch {
		case StateOf(t.Sync.Expiry, a.clock()) == TokenExpired:
			reason = fmt.Sprintf("server token %d has expired", t.Sync.TokenID)
			continue
		case t.Sync.Error != fleet.DEPOK:
			reason = fmt.Sprintf("server token %d does not work: %s", t.Sync.TokenID, t.Sync.Reason)
			continue
		}
		definition, _, err := a.definition(ctx, t.Sync.TokenID, p)
		if err != nil {
			return "", err
		}
		_, err = a.apple.DefineProfile(ctx, t.Sync.TokenID, definition)
		switch e := depError(err); {
		case err == nil:
			return "", nil
		case e == nil:
			return "", err
		case e.Kind == fleet.DEPRefused:
			return "", fleet.FieldErrorf(fleet.KindInvalid, "enrollment_profile", "Apple refuses it: %s", e.Code).WithCause(err)
		default:
			return "", fleet.FieldErrorf(fleet.KindUpstream, "enrollment_profile", "Apple could not check it (%v): nothing was changed, try again later", e).WithCause(err)
		}
	}
	return "Apple did not check this profile, and may refuse it later: " + reason, nil
}

// Delete gives a team the default profile again.
func (a *Assistants) Delete(ctx context.Context, actor fleet.Actor, team fleet.TeamID) error {
	found, err := a.store.DeleteAssistant(ctx, team, fleet.Event{Kind: fleet.EventSetupAssistant, Actor: actor, At: a.clock(),
		Details: details(map[string]any{"change": "deleted", "team_id": team})})
	if err == nil && !found {
		err = fleet.Errorf(fleet.KindNotFound, "the team has no enrollment profile for Setup Assistant of its own")
	}
	if err == nil {
		a.syncs.Ring()
	}
	return err
}

func (a *Assistants) definition(ctx context.Context, token fleet.ServerTokenID, p adeprofile.Profile) ([]byte, [32]byte, error) {
	url, err := a.links.DEPEnrollURL(ctx, token)
	if err != nil {
		return nil, [32]byte{}, err
	}
	return p.Definition(adeprofile.Server{URL: url, Await: true})
}

// Define has what a token's teams ask for defined at Apple. An error of the
// service that concerns the token is returned; one that concerns a profile is
// remembered with its team.
func (a *Assistants) Define(ctx context.Context, token fleet.ServerTokenID) error {
	teams, err := a.store.Teams(ctx, token)
	if err != nil || len(teams) == 0 {
		return err
	}
	defined := map[[32]byte]string{}
	for _, t := range teams {
		if t.Profile != "" {
			defined[t.Hash] = t.Profile
		}
	}
	for _, t := range teams {
		if err := a.defineFor(ctx, token, t, defined); err != nil {
			return err
		}
	}
	return nil
}

func (a *Assistants) defineFor(ctx context.Context, token fleet.ServerTokenID, t fleet.DEPTeam, defined map[[32]byte]string) error {
	p := adeprofile.Default(defaultName)
	if t.Custom != nil {
		var err error
		if p, _, err = adeprofile.Parse(t.Custom, adeprofile.Options{}); err != nil {
			return fmt.Errorf("stored enrollment profile of team %d: %w", t.TeamID, err)
		}
	}
	definition, hash, err := a.definition(ctx, token, p)
	if err != nil {
		return err
	}
	now, name := a.clock(), hex.EncodeToString(hash[:])
	switch {
	case t.Profile != "" && t.Hash == hash:
		return nil
	case t.Refused == name && now.Before(t.RetryAt):
		return nil
	}
	profile, known := defined[hash]
	if !known {
		profile, err = a.apple.DefineProfile(ctx, token, definition)
		if e := depError(err); e != nil && e.Kind == fleet.DEPRefused {
			t.Refused, t.Reason, t.RetryAt = name, e.Error(), now.Add(refusedFor)
			return a.store.Refuse(ctx, token, t, fleet.Event{Kind: fleet.EventSetupAssistant, At: now,
				Details: details(map[string]any{"change": "refused by Apple", "server_token": token, "team_id": t.TeamID, "reason": t.Reason})})
		}
		if err != nil {
			return err
		}
		defined[hash] = profile
	}
	return a.store.PutProfile(ctx, token, t.TeamID, hash, profile)
}
