-- Whose setup is to be looked at, by when.
CREATE INDEX setups_due ON setups (state, next_at, enrollment_id);
