-- How a device came in: by a link, by Apple's device enrollment service (then
-- by which server token), with an enroll secret. A challenge is for one way,
-- and where the device is known by then, for its serial.
ALTER TABLE challenges ADD COLUMN kind {{.Int}} NOT NULL DEFAULT 1;

ALTER TABLE challenges ADD COLUMN team_id {{.ID}} NOT NULL DEFAULT 0;

ALTER TABLE challenges ADD COLUMN serial {{.Str 100}} NOT NULL DEFAULT '';

ALTER TABLE identities ADD COLUMN kind {{.Int}} NOT NULL DEFAULT 1;

ALTER TABLE identities ADD COLUMN team_id {{.ID}} NOT NULL DEFAULT 0;

ALTER TABLE identities ADD COLUMN serial {{.Str 100}} NOT NULL DEFAULT '';

ALTER TABLE enrollments ADD COLUMN kind {{.Int}} NOT NULL DEFAULT 1;

ALTER TABLE enrollment_profiles ADD COLUMN server_token_id {{.ID}} NOT NULL DEFAULT 0;

-- The hash in hex of a definition that Apple refused, why, and when to try it
-- again.
ALTER TABLE ade_profiles ADD COLUMN refused {{.Str 64}} NOT NULL DEFAULT '';

ALTER TABLE ade_profiles ADD COLUMN reason {{.Str 1024}} NOT NULL DEFAULT '';

ALTER TABLE ade_profiles ADD COLUMN retry_at {{.Int}} NOT NULL DEFAULT 0;

-- Enrollment profiles for Setup Assistant that people wrote, one a team. The
-- key 0 is that of hosts without a team.
CREATE TABLE setup_assistants (
	team_id {{.ID}} NOT NULL PRIMARY KEY,
	name {{.Str 255}} NOT NULL,
	body {{.Blob}} NOT NULL,
	uploaded_at {{.Int}} NOT NULL
){{.Opts}};
