package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Setups keeps what happens to devices in Setup Assistant.
type Setups struct{ db *DB }

// NewSetups returns the setups of db.
func NewSetups(db *DB) *Setups { return &Setups{db} }

var setupCols = []string{"enrollment_id", "host_id", "state", "started_at", "ended_at", "steps", "outcome", "bootstrap_command",
	"release_command", "tries", "next_at", "version", "package_name", "package_status"}

// stepRow is the stored form of a step. Fields are only ever added.
type stepRow struct {
	Name, State, Detail string
	Since               int64
}

func packSteps(steps []fleet.SetupStep) ([]byte, error) {
	rows := make([]stepRow, 0, len(steps))
	for _, s := range steps {
		rows = append(rows, stepRow{s.Name, string(s.State), s.Detail, micros(s.Since)})
	}
	return json.Marshal(rows)
}

func unpackSteps(body []byte) ([]fleet.SetupStep, error) {
	var rows []stepRow
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, fmt.Errorf("decode steps of a setup: %w", err)
	}
	steps := make([]fleet.SetupStep, 0, len(rows))
	for _, r := range rows {
		steps = append(steps, fleet.SetupStep{Name: r.Name, State: fleet.SetupStepState(r.State), Detail: r.Detail, Since: timeOf(r.Since)})
	}
	return steps, nil
}

func setupValues(v *fleet.Setup) ([]any, error) {
	steps, err := packSteps(v.Steps)
	if err != nil {
		return nil, err
	}
	return []any{int64(v.EnrollmentID), int64(v.HostID), int64(v.State), micros(v.StartedAt), micros(v.EndedAt), steps, clip(v.Outcome, 40),
		int64(v.BootstrapCommand), int64(v.ReleaseCommand), v.Tries, micros(v.NextAt), v.Version,
		clip(v.PackageName, 255), int64(v.PackageStatus)}, nil
}

// setupVersions is for how many versions a generation of an enrollment has room,
// as a power of two.
const setupVersions = 32

// beginSetup notes that a device waits from now on. It waits once in a
// generation: a check-in that is repeated after it went on begins nothing.
func (s *session) beginSetup(e *fleet.Enrollment) error {
	row, err := setupValues(&fleet.Setup{EnrollmentID: e.ID, HostID: e.HostID, State: fleet.SetupWaiting, StartedAt: s.db.clock(),
		Version: e.Generation << setupVersions}) // never one of an earlier enrollment's
	if err != nil {
		return err
	}
	return s.put("setups", setupCols, [][]any{row}, s.db.dialect.onConflict(setupCols[:1], nil), 0)
}

// forgetSetup ends what an enrollment waited for: it is off, or began anew.
func (s *session) forgetSetup(e *fleet.Enrollment) error {
	return s.exec("DELETE FROM setups WHERE enrollment_id = ?", int64(e.ID))
}

var setupSelect = "SELECT su." + strings.Replace(strings.Join(setupCols, ", su."), "su.host_id", "e.host_id", 1) + ", e.state, e.awaiting_configuration, e.kind," +
	" COALESCE(br.status, 0), br.result, COALESCE(rr.status, 0), rr.result," +
	" EXISTS (SELECT 1 FROM command_queue bq WHERE bq.command_id = su.bootstrap_command AND bq.enrollment_id = su.enrollment_id)," +
	" EXISTS (SELECT 1 FROM command_queue rq WHERE rq.command_id = su.release_command AND rq.enrollment_id = su.enrollment_id)" +
	" FROM setups su JOIN enrollments e ON e.id = su.enrollment_id" +
	" LEFT JOIN command_results br ON br.command_id = su.bootstrap_command AND br.enrollment_id = su.enrollment_id" +
	" LEFT JOIN command_results rr ON rr.command_id = su.release_command AND rr.enrollment_id = su.enrollment_id"

func scanSetup(rows *sql.Rows) (fleet.SetupFacts, error) {
	var f fleet.SetupFacts
	var started, ended, next int64
	var steps []byte
	var state fleet.EnrollmentState
	v := &f.Setup
	err := rows.Scan(&v.EnrollmentID, &v.HostID, &v.State, &started, &ended, &steps, &v.Outcome, &v.BootstrapCommand, &v.ReleaseCommand, &v.Tries, &next,
		&v.Version, &v.PackageName, &v.PackageStatus, &state, &f.Awaiting, &f.Kind, &f.BootstrapStatus, &f.BootstrapAnswer, &f.ReleaseStatus, &f.ReleaseAnswer,
		&f.BootstrapQueued, &f.ReleaseQueued)
	if err != nil {
		return f, err
	}
	v.StartedAt, v.EndedAt, v.NextAt = timeOf(started), timeOf(ended), timeOf(next)
	f.Enrolled = state == fleet.EnrollmentOn
	v.Steps, err = unpackSteps(steps)
	return f, err
}

// maxSetupPause is longer than any pause that a setup makes. A time further
// ahead was written when the clock was wrong.
const maxSetupPause = time.Hour

var setupsDue = fmt.Sprintf("SELECT enrollment_id FROM setups WHERE state IN (%d, %d, %d) AND enrollment_id > ?",
	fleet.SetupWaiting, fleet.SetupHeld, fleet.SetupReleasing)

// Open reads the facts of setups that are not done and whose time has come,
// those after a key in its order. A device whose host was deleted brings it back
// first.
func (t *Setups) Open(ctx context.Context, now time.Time, after fleet.EnrollmentID, limit int) ([]fleet.SetupFacts, error) {
	s := t.db.view(ctx)
	list, err := collect(s, scanSetup, setupSelect+" JOIN ("+setupsDue+" AND next_at <= ? UNION ALL "+setupsDue+" AND next_at > ?) due ON due.enrollment_id = su.enrollment_id"+
		" WHERE e.state = ? AND e.host_id <> 0 ORDER BY su.enrollment_id LIMIT ?",
		int64(after), micros(now), int64(after), micros(now.Add(maxSetupPause)), int64(fleet.EnrollmentOn), limit)
	if err != nil {
		return nil, err
	}
	return list, s.setupFacts(list)
}

// Late reads the facts of setups that ended before their device answered about
// its package, and that know the answer by now.
func (t *Setups) Late(ctx context.Context, limit int) ([]fleet.SetupFacts, error) {
	s := t.db.view(ctx)
	list, err := collect(s, scanSetup, setupSelect+" WHERE su.package_status = ? AND su.state = ? AND br.status >= ? ORDER BY su.enrollment_id LIMIT ?",
		int64(fleet.PackagePending), int64(fleet.SetupDone), int64(fleet.CommandAcknowledged), limit)
	if err != nil {
		return nil, err
	}
	return list, s.setupFacts(list)
}

// OfHost reads the facts of a host's newest setup; nil: it never waited.
func (t *Setups) OfHost(ctx context.Context, host fleet.HostID) (*fleet.SetupFacts, error) {
	s := t.db.view(ctx)
	list, err := collect(s, scanSetup, setupSelect+" WHERE e.host_id = ? ORDER BY su.started_at DESC LIMIT 1", int64(host))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], s.setupFacts(list)
}

// setupFacts fills in what follows from the hosts.
func (s *session) setupFacts(list []fleet.SetupFacts) error {
	if len(list) == 0 {
		return nil
	}
	of := make(setupsOf, len(list)) // a host may have several channels that wait
	var keys []any
	for i := range list {
		id := list[i].Setup.HostID
		if of[id] == nil {
			keys = append(keys, int64(id))
		}
		of[id] = append(of[id], &list[i])
	}
	in, args := inList(keys)
	hosts, err := collect(s, scanHost, hostSelect+" WHERE h.id IN "+in, args...)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		of.each(h.ID, func(f *fleet.SetupFacts) { f.Host = h })
	}
	if err := s.setupItems(of, in, args); err != nil {
		return err
	}
	if err := s.setupMigrations(of, in, args); err != nil {
		return err
	}
	return s.setupPackages(list)
}

// setupsOf are facts by host.
type setupsOf map[fleet.HostID][]*fleet.SetupFacts

func (of setupsOf) each(id fleet.HostID, tell func(*fleet.SetupFacts)) {
	for _, f := range of[id] {
		tell(f)
	}
}

// setupItems counts what is under way on device channels. A host was planned
// when nothing of its scope is newer and its time has not come again.
func (s *session) setupItems(of setupsOf, in string, args []any) error {
	type row struct {
		host            fleet.HostID
		planned         bool
		pending, failed int
	}
	list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.host, &v.planned, &v.pending, &v.failed) },
		"SELECT hs.host_id, hs.revision >= COALESCE((SELECT sc.revision FROM scopes sc WHERE sc.team_id = hs.team_id), 0) AND (hs.due_at = 0 OR hs.due_at > ?),"+
			" COALESCE(SUM(CASE WHEN hi.status = ? THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN hi.status = ? THEN 1 ELSE 0 END), 0)"+
			" FROM host_states hs LEFT JOIN (SELECT x.host_id AS host_id, x.status AS status FROM host_items x JOIN items i ON i.id = x.item_id WHERE i.scope = ? AND x.host_id IN "+in+") hi"+
			" ON hi.host_id = hs.host_id WHERE hs.host_id IN "+in+" GROUP BY hs.host_id, hs.revision, hs.team_id, hs.due_at",
		append(append([]any{s.db.now(), int64(fleet.ItemPending), int64(fleet.ItemFailed), int64(fleet.ScopeSystem)}, args...), args...)...)
	for _, v := range list {
		of.each(v.host, func(f *fleet.SetupFacts) { f.Planned, f.Pending, f.Failed = v.planned, v.pending, v.failed })
	}
	return err
}

// setupMigrations finds hosts that Apple says migrate from another server.
func (s *session) setupMigrations(of setupsOf, in string, args []any) error {
	type row struct {
		host fleet.HostID
		body []byte
	}
	list, err := collect(s, func(r *sql.Rows) (v row, err error) { return v, r.Scan(&v.host, &v.body) },
		"SELECT host_id, body FROM ade_devices WHERE deleted_at = 0 AND host_id IN "+in, args...)
	if err != nil {
		return err
	}
	for _, v := range list {
		d, err := unpackDevice("", v.body)
		if err != nil {
			return err
		}
		of.each(v.host, func(f *fleet.SetupFacts) { f.Migrating = !d.MigrationDeadline.IsZero() })
	}
	return nil
}

// setupPackages finds the packages of the hosts' teams.
func (s *session) setupPackages(list []fleet.SetupFacts) error {
	teams := map[fleet.TeamID]bool{}
	var keys []any
	for i := range list {
		if id := list[i].Host.TeamID; !teams[id] {
			teams[id] = true
			keys = append(keys, int64(id))
		}
	}
	in, args := inList(keys)
	packages, err := collect(s, scanPackage, packageSelect+" WHERE ready = TRUE AND team_id IN "+in, args...)
	if err != nil {
		return err
	}
	for i := range list {
		for n := range packages {
			if packages[n].TeamID == list[i].Host.TeamID {
				list[i].Bootstrap = &packages[n]
			}
		}
	}
	return nil
}

// Rest notes when to look at setups again, but for those that changed since
// their facts were read.
func (t *Setups) Rest(ctx context.Context, setups []fleet.Setup) error {
	until := map[int64][][2]int64{}
	for _, v := range setups {
		until[micros(v.NextAt)] = append(until[micros(v.NextAt)], [2]int64{int64(v.EnrollmentID), v.Version})
	}
	err := t.db.update(ctx, func(s *session) error {
		for at, keys := range until {
			ids := make([]any, 0, len(keys))
			for _, k := range keys {
				ids = append(ids, k[0])
			}
			in, args := inList(ids)
			same, versions := s.db.dialect.inPairs(keys)
			if err := s.exec("UPDATE setups SET next_at = ? WHERE enrollment_id IN "+in+" AND (enrollment_id, version) IN "+same,
				slices.Concat([]any{at}, args, versions)...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("let setups rest: %w", err)
	}
	return nil
}

// setupsAnswered ends the pauses of setups whose devices answered. What was
// decided before is decided again.
func (s *session) setupsAnswered(reports []*exchange) error {
	var keys []any
	for _, x := range reports {
		if x.known && !x.out.Keep && x.target.Command.Purpose == fleet.CommandSetup {
			keys = append(keys, int64(x.enrollment))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	in, args := inList(keys)
	return s.exec("UPDATE setups SET next_at = 0, version = version + 1 WHERE enrollment_id IN "+in, args...)
}

// Save writes a decision with its commands and events, unless the setup
// changed since its facts were read; then it reports false.
func (t *Setups) Save(ctx context.Context, c *fleet.SetupChange) (saved bool, err error) {
	err = t.db.update(ctx, func(s *session) error {
		v := c.Setup
		n, err := s.changed("UPDATE setups SET version = version + 1 WHERE enrollment_id = ? AND version = ?", int64(v.EnrollmentID), v.Version)
		if saved = n > 0; err != nil || !saved {
			return err
		}
		v.Version++
		for _, q := range []struct {
			cmd *fleet.Command
			to  *fleet.CommandID
		}{{c.Bootstrap, &v.BootstrapCommand}, {c.Release, &v.ReleaseCommand}} {
			if q.cmd == nil {
				continue
			}
			if err := s.putCommand(q.cmd); err != nil {
				return err
			}
			seq := s.db.nextSeq()
			if q.cmd == c.Release {
				seq = 0 // before whatever waits: a command that is never answered would keep the device in Setup Assistant
			}
			if err := s.queueFor(q.cmd.ID, seq, []fleet.Target{{EnrollmentID: v.EnrollmentID, Host: fleet.HostRef{ID: v.HostID}}}); err != nil {
				return err
			}
			*q.to = q.cmd.ID
		}
		row, err := setupValues(&v)
		if err != nil {
			return err
		}
		if err := s.upsertRows("setups", setupCols, 1, [][]any{row}); err != nil {
			return err
		}
		if v.State == fleet.SetupDone {
			if err := s.exec("UPDATE enrollments SET awaiting_configuration = FALSE WHERE id = ?", int64(v.EnrollmentID)); err != nil {
				return err
			}
		}
		return s.appendEvents(c.Events...)
	})
	if err != nil {
		return false, fmt.Errorf("save the setup of enrollment %d: %w", c.Setup.EnrollmentID, err)
	}
	return saved, nil
}
