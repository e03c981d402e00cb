-- Devices that wait, or waited, in Setup Assistant: one an enrollment. steps is
-- JSON.
CREATE TABLE setups (
	enrollment_id {{.ID}} NOT NULL PRIMARY KEY,
	host_id {{.ID}} NOT NULL,
	state {{.Int}} NOT NULL,
	started_at {{.Int}} NOT NULL,
	ended_at {{.Int}} NOT NULL,
	steps {{.Blob}} NOT NULL,
	outcome {{.Str 40}} NOT NULL,
	bootstrap_command {{.ID}} NOT NULL,
	release_command {{.ID}} NOT NULL,
	tries {{.Int}} NOT NULL,
	next_at {{.Int}} NOT NULL,
	version {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX setups_state ON setups (state, enrollment_id);

CREATE INDEX setups_host ON setups (host_id);

-- Installers for Macs in Setup Assistant, one a team, in pieces.
CREATE TABLE bootstrap_packages (
	id {{.ID}} NOT NULL PRIMARY KEY,
	team_id {{.ID}} NOT NULL,
	name {{.Str 255}} NOT NULL,
	identifier {{.Str 255}} NOT NULL,
	product_version {{.Str 100}} NOT NULL,
	size {{.Int}} NOT NULL,
	sha256 {{.Bin 32}} NOT NULL,
	piece_sums {{.Blob}} NOT NULL,
	token {{.Str 100}} NOT NULL,
	ready {{.Bool}} NOT NULL,
	created_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX bootstrap_packages_token ON bootstrap_packages (token);

CREATE INDEX bootstrap_packages_team ON bootstrap_packages (team_id, ready);

CREATE TABLE bootstrap_pieces (
	package_id {{.ID}} NOT NULL,
	piece {{.Int}} NOT NULL,
	data {{.Blob}} NOT NULL,
	PRIMARY KEY (package_id, piece)
){{.Opts}};
