-- Whose setup is to be looked at, by when.
CREATE INDEX setups_due ON setups (state, next_at, enrollment_id);

-- The time by which the clean-up drops things. Its one row follows the clock, by
-- a bounded step each time.
CREATE TABLE sweep_clock (
	id {{.ID}} NOT NULL PRIMARY KEY,
	swept_at {{.Int}} NOT NULL
){{.Opts}};

-- Until when somebody carries a request out; another takes it up after that.
ALTER TABLE action_requests ADD COLUMN lease_until {{.Int}} NOT NULL DEFAULT 0;
