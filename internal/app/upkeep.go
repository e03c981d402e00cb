package app

import (
	"context"
	"errors"
	"time"

	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/settings"
	"github.com/muster-mdm/muster/internal/store"
)

// Times of the upkeep.
const (
	seenEvery    = 5 * time.Second
	keysEvery    = 5 * time.Second
	cleanupEvery = time.Hour
	// commandLife is how long answered commands are kept.
	commandLife = 90 * 24 * time.Hour
	// challengeLife is how long a spent or expired challenge is kept for
	// devices that repeat their request.
	challengeLife = 7 * 24 * time.Hour
	// identityLife and otaLife are how long identities are kept that expired
	// and that no enrollment needs, the latter those of over-the-air enrollment.
	identityLife = 90 * 24 * time.Hour
	otaLife      = 24 * time.Hour
	// sweepStep bounds how far one clean-up goes: should the clock be wrong,
	// what is old by it is not old.
	sweepStep = 24 * time.Hour
)

// upkeep are the jobs that belong to no capability alone.
func (a *App) upkeep() []jobs.Job {
	return []jobs.Job{
		{Name: "seen", Every: seenEvery, Local: true, Run: a.seen.Flush},
		{Name: "keys", Every: keysEvery, Local: true, Run: func(context.Context) error { return a.vault.Refresh() }},
		{Name: "cleanup", Every: cleanupEvery, Run: a.cleanup},
	}
}

// trimLog drops what the log policy does not keep.
func (a *App) trimLog(org *settings.Service) func(context.Context, time.Time) error {
	return func(ctx context.Context, now time.Time) error {
		s, err := org.Settings(ctx)
		if err != nil {
			return err
		}
		begin, ends := s.Log.Begin(now)
		if !ends {
			return nil
		}
		_, err = store.NewEvents(a.db).DeleteOld(ctx, begin)
		return err
	}
}

// cleanup drops what nobody needs any more.
func (a *App) cleanup(ctx context.Context) error {
	now, err := store.NewSweepClock(a.db).Advance(ctx, a.clock(), sweepStep)
	if err != nil {
		return err
	}
	_, sessions := a.access.Sweep(ctx)
	_, challenges := store.NewIdentities(a.db).DeleteExpiredChallenges(ctx, now.Add(-challengeLife))
	_, identities := store.NewIdentities(a.db).DeleteExpired(ctx, now.Add(-identityLife), now.Add(-otaLife))
	_, commands := store.NewCommands(a.db).DeleteOld(ctx, now.Add(-commandLife))
	items := store.NewItems(a.db).DeleteGone(ctx, now.Add(-goneLife).UnixMicro())
	software := store.NewSoftware(a.db).DeleteUnused(ctx, now)
	return errors.Join(append(a.sweepAll(ctx, now), sessions, challenges, identities, commands, items, software)...)
}
