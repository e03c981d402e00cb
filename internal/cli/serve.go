package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/internal/app"
	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/internal/kit/slogx"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/vault"
)

func (c *cli) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server",
		Long: "Runs the server until it is told to stop (SIGINT or SIGTERM), then finishes what is under way.\n" +
			"Without settings it serves plain HTTP on port 8080 with an embedded database in ./data.",
		Example: "  muster serve\n  muster serve --data-dir /var/lib/muster --server-url https://mdm.example.com",
		Args:    args(cobra.NoArgs),
	}
	load := c.serverFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := load()
		if err != nil {
			return err
		}
		log, flush := c.serverLog(settings, c.Err)
		a, err := app.New(cmd.Context(), app.Options{Config: settings, Version: c.Version, Log: log})
		if err == nil {
			err = a.Run(cmd.Context())
		}
		return errors.Join(err, flush())
	}
	return cmd
}

func (c *cli) configCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the server's settings without starting it",
		Long: "Reads the server's settings from flags, environment and file as `muster serve` does, says everything that is wrong\n" +
			"with them, and shows what is in effect. Secrets are hidden.",
		Example: "  muster config check --config /etc/muster/muster.yml",
		Args:    args(cobra.NoArgs),
	}
	load := c.serverFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := load()
		if err != nil {
			return err
		}
		if settings.PrivateKey != "" || !settings.Embedded() {
			if _, _, err := app.Keys(settings); err != nil {
				return err
			}
		}
		l := listing{columns: []string{"SETTING", "VALUE"}}
		values := map[string]string{}
		for _, line := range settings.Lines() {
			values[line.Name] = line.Value
			l.rows = append(l.rows, []string{line.Name, line.Value})
		}
		l.value = values
		return c.show(l)
	}
	return cmd
}

// serverLog makes the server's log, written off the hot path.
func (c *cli) serverLog(settings config.Config, out io.Writer) (*slog.Logger, func() error) {
	w := slogx.NewWriter(out)
	return slogx.New(slogx.Options{Format: settings.Log.Format, Level: settings.Log.Level, Out: w}), w.Close
}

func (c *cli) dbCommand() *cobra.Command {
	migrate := &cobra.Command{
		Use: "migrate", Short: "Bring the database's schema up to date",
		Long: "Brings the schema up to date, as the server does when it starts. Run it beforehand to see what it does.",
		Args: args(cobra.NoArgs),
	}
	load := c.serverFlags(migrate)
	migrate.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withStore(cmd.Context(), load, func(db *store.DB, _ config.Config) error {
			applied, err := db.Migrate(cmd.Context())
			for _, name := range applied {
				fmt.Fprintln(c.Out, "applied", name)
			}
			if err == nil && len(applied) == 0 {
				fmt.Fprintln(c.Out, "nothing to do: the schema is current")
			}
			return err
		})
	}
	status := &cobra.Command{
		Use: "status", Short: "Show which migrations the database has", Args: args(cobra.NoArgs),
		Long: "Shows every migration and when it was applied. The exit code is 7 when some are pending.",
	}
	loadStatus := c.serverFlags(status)
	status.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withStore(cmd.Context(), loadStatus, func(db *store.DB, _ config.Config) error { return c.showMigrations(cmd.Context(), db) })
	}
	return group("db", "Look after the database", migrate, status)
}

func (c *cli) showMigrations(ctx context.Context, db *store.DB) error {
	list, err := db.Migrations(ctx)
	if err != nil {
		return err
	}
	type row struct {
		Version   int    `json:"version"`
		Name      string `json:"name"`
		AppliedAt string `json:"applied_at,omitempty"`
	}
	l := listing{columns: []string{"VERSION", "NAME", "APPLIED"}}
	rows := make([]row, 0, len(list))
	pending := false
	for _, m := range list {
		at := ""
		if m.AppliedAt.IsZero() {
			pending = true
		} else {
			at = m.AppliedAt.In(c.Zone).Format(time.RFC3339)
		}
		rows = append(rows, row{m.Version, m.Name, at})
		l.rows = append(l.rows, []string{fmt.Sprint(m.Version), m.Name, at})
	}
	l.value = rows
	if err := c.show(l); err != nil {
		return err
	}
	if pending {
		return ErrChanges
	}
	return nil
}

// withStore opens the configured database for one command.
func (c *cli) withStore(ctx context.Context, load func() (config.Config, error), use func(*store.DB, config.Config) error) error {
	settings, err := load()
	if err != nil {
		return err
	}
	db, err := app.OpenStore(ctx, settings, c.Now)
	if err != nil {
		return err
	}
	return errors.Join(use(db, settings), db.Close())
}

func (c *cli) keysCommand() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Seal every secret with a new server key",
		Long: "Re-wraps every sealed value while servers run. It may be interrupted and run again.\n\n" +
			"With the embedded database a new key is made and put first in the key file; the old one is dropped when nothing needs it.\n" +
			"With a database server the keys are settings, and all replicas must be able to open what any of them seals:\n" +
			"  1. Restart every replica with the NEW key added to private_keys_old: it opens with it and still seals with the old one.\n" +
			"  2. When all of them have it, restart every replica with the two swapped: the new key as private_key, the old one in private_keys_old.\n" +
			"  3. Run this with the settings of step 2. It says when everything is sealed with the new key.\n" +
			"  4. Restart every replica without the old key.\n" +
			"Where all replicas may stop at the same time, step 1 can be left out.",
		Example: "  muster keys rotate --data-dir /var/lib/muster\n" +
			"  muster keys rotate --database-url-file /etc/muster/database-url --private-key-file /etc/muster/new.key --private-keys-old-file /etc/muster/old.key",
		Args: args(cobra.NoArgs),
	}
	load := c.serverFlags(rotate)
	rotate.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withStore(cmd.Context(), load, func(db *store.DB, settings config.Config) error {
			return c.rotateKeys(cmd.Context(), db, settings)
		})
	}
	return group("keys", "Look after the server's keys", rotate)
}

// keySettle is how long running servers take at most to notice a new key in
// the key file.
const keySettle = 12 * time.Second

func (c *cli) rotateKeys(ctx context.Context, db *store.DB, settings config.Config) error {
	ownFile := settings.PrivateKey == ""
	keys, _, err := app.Keys(settings)
	if err != nil {
		return err
	}
	// A file with two keys is a rotation that was interrupted: go on with it.
	if ownFile && len(keys) == 1 {
		if err := vault.AddKey(settings.KeyFile()); err != nil {
			return err
		}
		if keys, err = vault.LoadKeyFile(settings.KeyFile()); err != nil {
			return err
		}
		fmt.Fprintf(c.Err, "A new key is in %s.\n", settings.KeyFile())
	}
	v, err := vault.New(keys, nil)
	if err != nil {
		return err
	}
	secrets := store.NewSecrets(db)
	rewrap := func() error {
		n, err := v.Rotate(ctx, secrets, func(done int) { fmt.Fprintf(c.Err, "re-wrapped %d values\n", done) })
		if err == nil && n == 0 {
			fmt.Fprintln(c.Err, "nothing left to re-wrap")
		}
		return err
	}
	if err := rewrap(); err != nil || !ownFile {
		if err == nil {
			fmt.Fprintf(c.Out, "Every secret is sealed with key %s. private_keys_old is no longer needed.\n", v.CurrentKeyID())
		}
		return err
	}
	fmt.Fprintf(c.Err, "waiting %s for running servers to seal with the new key\n", keySettle)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(keySettle):
	}
	if err := rewrap(); err != nil {
		return err
	}
	if err := vault.DropOldKeys(settings.KeyFile()); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "Every secret is sealed with key %s, and the old key is gone. Keep a copy of %s.\n", v.CurrentKeyID(), settings.KeyFile())
	return nil
}
