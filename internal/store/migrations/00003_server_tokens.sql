-- Server tokens of Apple's device enrollment service, and how far reading its
-- devices came. The credentials are sealed in secrets.
CREATE TABLE ade_tokens (
	id {{.ID}} NOT NULL PRIMARY KEY,
	server_uuid {{.Str 100}} NOT NULL,
	server_name {{.Str 255}} NOT NULL,
	org_name {{.Str 255}} NOT NULL,
	org_id {{.Str 100}} NOT NULL,
	org_type {{.Str 40}} NOT NULL,
	admin_id {{.Str 255}} NOT NULL,
	expires_at {{.Int}} NOT NULL,
	macos_team_id {{.ID}} NOT NULL,
	ios_team_id {{.ID}} NOT NULL,
	ipados_team_id {{.ID}} NOT NULL,
	phase {{.Int}} NOT NULL,
	next_cursor {{.Str 1024}} NOT NULL,
	round {{.Int}} NOT NULL,
	full_at {{.Int}} NOT NULL,
	ok_at {{.Int}} NOT NULL,
	failures {{.Int}} NOT NULL,
	restarts {{.Int}} NOT NULL,
	next_at {{.Int}} NOT NULL,
	error {{.Int}} NOT NULL,
	reason {{.Str 1024}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX ade_tokens_server ON ade_tokens (server_uuid);

-- Devices as Apple describes them. profile is the enrollment profile that
-- Apple hands one now; managed: hosts of its platform are managed here.
CREATE TABLE ade_devices (
	token_id {{.ID}} NOT NULL,
	serial {{.Str 100}} NOT NULL,
	host_id {{.ID}} NOT NULL,
	body {{.Blob}} NOT NULL,
	managed {{.Bool}} NOT NULL,
	profile {{.Str 64}} NOT NULL,
	round {{.Int}} NOT NULL,
	deleted_at {{.Int}} NOT NULL,
	tried {{.Str 64}} NOT NULL,
	result {{.Int}} NOT NULL,
	tried_at {{.Int}} NOT NULL,
	failures {{.Int}} NOT NULL,
	next_at {{.Int}} NOT NULL,
	held {{.Bool}} NOT NULL,
	PRIMARY KEY (token_id, serial)
){{.Clustered}};

CREATE INDEX ade_devices_round ON ade_devices (token_id, deleted_at, round);

CREATE INDEX ade_devices_host ON ade_devices (host_id, token_id);

-- The enrollment profile of a team, as it was defined at Apple for a token.
-- hash is that of its definition: the same is not defined again.
CREATE TABLE ade_profiles (
	token_id {{.ID}} NOT NULL,
	team_id {{.ID}} NOT NULL,
	hash {{.Bin 32}} NOT NULL,
	profile {{.Str 64}} NOT NULL,
	defined_at {{.Int}} NOT NULL,
	PRIMARY KEY (token_id, team_id)
){{.Clustered}};
