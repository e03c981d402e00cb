-- Renewals of device identities under way: a row from when one was first asked
-- for until the new identity is used. What became of it is in the event log.
CREATE TABLE renewals (
	enrollment_id {{.ID}} NOT NULL PRIMARY KEY,
	identity_id {{.ID}} NOT NULL,
	waiting {{.Bool}} NOT NULL,
	attempts {{.Int}} NOT NULL,
	asked_at {{.Int}} NOT NULL,
	deadline {{.Int}} NOT NULL,
	due_at {{.Int}} NOT NULL,
	fault {{.Str 255}} NOT NULL
){{.Clustered}};

CREATE INDEX renewals_due ON renewals (due_at);

-- What was warned of: the nearest threshold of each dated thing.
CREATE TABLE expiry_warnings (
	name {{.Str 200}} NOT NULL PRIMARY KEY,
	not_after {{.Int}} NOT NULL,
	days {{.Int}} NOT NULL
){{.Clustered}};
