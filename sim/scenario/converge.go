package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
)

// How a converging fleet misbehaves.
const (
	flakyEvery   = 50 // one device of so many
	flakyLoss    = 0.3
	offlineEvery = 20
	offlineFor   = 20 * time.Second
	lookEvery    = 30               // polls between two looks for what was forgotten
	calmAfter    = 30 * time.Second // flaky devices get better: who always loses every message never converges
)

// converge brings profiles and declarations to a whole fleet in two teams,
// some of which is flaky or offline for a while, and if told so kills the
// server in the middle of it.
func converge(ctx context.Context, s *Story) error {
	n := len(s.Fleet.Devices)
	s.misbehave()
	teams, err := s.twoTeams(ctx)
	if err != nil {
		return err
	}
	uuids, err := s.uploadMany(ctx, teams)
	if err != nil {
		return err
	}
	killed := make(chan error, 1)
	go func() { killed <- s.killSometimes(ctx) }()
	last, looks := -1, 0
	err = s.until(ctx, func() (bool, error) {
		verified := 0
		for _, team := range append([]int64{0}, teams...) {
			c, err := s.o.Client.ProfilesSummary(ctx, team)
			if err != nil {
				return false, err
			}
			verified += c.Verified
		}
		if verified != last {
			last = verified
			s.o.Progress("converge", verified, 0, n)
		}
		if looks++; looks%lookEvery == 0 {
			if err := s.nothingForgotten(ctx, uuids); err != nil {
				return false, err
			}
		}
		return verified == n, nil
	})
	err = errors.Join(err, <-killed)
	if err != nil {
		return fmt.Errorf("%d of %d hosts are verified: %w", last, n, err)
	}
	if err := s.really(); err != nil {
		return err
	}
	return s.protocolErrors()
}

// misbehave makes 2 % of the devices flaky and 5 % of them offline for a while.
func (s *Story) misbehave() {
	for i, d := range s.Fleet.Devices {
		if i%flakyEvery == 1 {
			d.Faults().Flaky(flakyLoss, uint64(i))
		}
		if i%offlineEvery == 2 {
			d.Faults().Offline(time.Now().Add(offlineFor))
		}
	}
	s.wg.Go(func() {
		select {
		case <-s.alive.Done():
		case <-time.After(calmAfter):
		}
		for _, d := range s.Fleet.Devices {
			d.Faults().Flaky(0, 0)
		}
	})
}

// twoTeams splits the fleet.
func (s *Story) twoTeams(ctx context.Context) ([]int64, error) {
	hosts, err := s.hostIDs(ctx)
	if err != nil {
		return nil, err
	}
	var teams []int64
	for i, name := range []string{"Office", "Field"} {
		team, err := s.o.Client.CreateTeam(ctx, apiv1.CreateTeamRequest{Name: name})
		if err != nil {
			return nil, err
		}
		half := hosts[i*len(hosts)/2 : (i+1)*len(hosts)/2]
		if err := s.o.Client.TransferHosts(ctx, team.ID, half, len(half)); err != nil {
			return nil, err
		}
		teams = append(teams, team.ID)
	}
	return teams, nil
}

// convergeID begins the identifiers of what is uploaded.
const convergeID = "com.example.converge."

// What each team gets besides what is scoped by labels.
const (
	manyProfiles     = 5
	manyDeclarations = 2
)

func (s *Story) uploadMany(ctx context.Context, teams []int64) ([]string, error) {
	var uuids []string
	add := func(u client.ProfileUpload) error {
		uuid, err := s.upload(ctx, u)
		uuids = append(uuids, uuid)
		return err
	}
	keys := []string{"allowCamera", "allowScreenShot", "allowGameCenter", "allowVideoConferencing", "allowExplicitContent"}
	for _, team := range teams {
		for i := range manyProfiles {
			id := fmt.Sprintf(convergeID+"p%d", i)
			if err := add(client.ProfileUpload{TeamID: team, Content: Restrictions(id, "Profile "+keys[i], keys[i], false)}); err != nil {
				return nil, err
			}
		}
		for i := range manyDeclarations {
			id := fmt.Sprintf(convergeID+"d%d", i)
			if err := add(client.ProfileUpload{TeamID: team, FileName: id + ".json", Content: Passcode(id, 6+i)}); err != nil {
				return nil, err
			}
		}
		u := client.ProfileUpload{TeamID: team, Content: Restrictions(convergeID+"macs", "Only Macs", "allowAirDrop", false), LabelsIncludeAny: []string{"macOS"}}
		if err := add(u); err != nil {
			return nil, err
		}
	}
	return uuids, nil
}

// killSometimes kills the server as often as the story was told to.
func (s *Story) killSometimes(ctx context.Context) error {
	if s.o.Restart == nil {
		return nil
	}
	for range s.o.Kills {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
		if err := s.o.Restart(ctx); err != nil {
			return fmt.Errorf("restart the server: %w", err)
		}
	}
	return nil
}

// nothingForgotten fails when something is pending without a next action: a
// time, a queued command, or a device that is to report.
func (s *Story) nothingForgotten(ctx context.Context, uuids []string) error {
	const sample = 3
	for _, uuid := range uuids {
		hosts, err := s.o.Client.ProfileHosts(ctx, uuid, "pending", "", 0, sample)
		if err != nil {
			return err
		}
		for _, h := range hosts.Hosts {
			x, err := s.o.Client.Explain(ctx, h.HostID, uuid)
			if err != nil {
				return err
			}
			if x.Status == "pending" && x.Next.Text == "" {
				return fmt.Errorf("%s on %s is pending and nothing is to happen", uuid, h.Hostname)
			}
		}
	}
	return nil
}

// really looks at the devices themselves.
func (s *Story) really() error {
	for _, d := range s.Fleet.Devices {
		profiles, declarations := 0, 0
		for _, p := range d.InstalledProfiles(appledev.DeviceChannel) {
			if strings.HasPrefix(p.Identifier, convergeID) {
				profiles++
			}
		}
		for _, decl := range d.Declarations(appledev.DeviceChannel) {
			if decl.Kind == "configuration" && decl.Active && strings.HasPrefix(decl.Identifier, convergeID) {
				declarations++
			}
		}
		want := manyProfiles
		if d.Spec().Model.Family == appledev.Mac {
			want++
		}
		if profiles != want || declarations != manyDeclarations {
			return fmt.Errorf("device %s has %d profiles and %d declarations, not %d and %d", d.Spec().Serial, profiles, declarations, want, manyDeclarations)
		}
	}
	return nil
}
