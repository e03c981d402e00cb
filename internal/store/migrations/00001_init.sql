-- Integer keys, drawn by the application in blocks.
CREATE TABLE sequences (
	name {{.Str 40}} NOT NULL PRIMARY KEY,
	next_id {{.Int}} NOT NULL
){{.Clustered}};

-- Work that one replica at a time does.
CREATE TABLE leases (
	name {{.Str 80}} NOT NULL PRIMARY KEY,
	holder {{.Str 80}} NOT NULL,
	epoch {{.Int}} NOT NULL,
	expires_at {{.Int}} NOT NULL
){{.Clustered}};

CREATE TABLE job_runs (
	name {{.Str 80}} NOT NULL PRIMARY KEY,
	started_at {{.Int}} NOT NULL,
	finished_at {{.Int}} NOT NULL,
	succeeded_at {{.Int}} NOT NULL,
	last_error {{.Text}} NOT NULL,
	runs {{.Int}} NOT NULL
){{.Clustered}};

-- The organization's settings: one row, id 1.
CREATE TABLE settings (
	id {{.ID}} NOT NULL PRIMARY KEY,
	body {{.Blob}} NOT NULL,
	version {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

-- Every sealed value of the system. Nothing secret lives anywhere else.
CREATE TABLE secrets (
	scope {{.Str 40}} NOT NULL,
	name {{.Str 200}} NOT NULL,
	value {{.Blob}} NOT NULL,
	key_id {{.Str 40}} NOT NULL,
	version {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL,
	PRIMARY KEY (scope, name)
){{.Clustered}};

CREATE INDEX secrets_key ON secrets (key_id, scope, name);

CREATE TABLE users (
	id {{.ID}} NOT NULL PRIMARY KEY,
	name {{.Str 255}} NOT NULL,
	email {{.Str 255}} NOT NULL,
	role {{.Str 40}} NOT NULL,
	api_only {{.Bool}} NOT NULL,
	password_hash {{.Str 255}} NOT NULL,
	force_reset {{.Bool}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX users_email ON users (email);

CREATE TABLE sessions (
	id {{.ID}} NOT NULL PRIMARY KEY,
	user_id {{.ID}} NOT NULL,
	token_sha256 {{.Bin 32}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	used_at {{.Int}} NOT NULL,
	expires_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX sessions_token ON sessions (token_sha256);

CREATE INDEX sessions_user ON sessions (user_id, id);

CREATE TABLE hosts (
	id {{.ID}} NOT NULL PRIMARY KEY,
	team_id {{.ID}} NOT NULL,
	uuid {{.Str 100}} NOT NULL,
	hardware_serial {{.Str 100}} NOT NULL,
	hostname {{.Str 255}} NOT NULL,
	computer_name {{.Str 255}} NOT NULL,
	platform {{.Str 40}} NOT NULL,
	hardware_model {{.Str 100}} NOT NULL,
	hardware_vendor {{.Str 100}} NOT NULL,
	os_version {{.Str 100}} NOT NULL,
	build {{.Str 40}} NOT NULL,
	primary_mac {{.Str 40}} NOT NULL,
	disk_total_gb {{.Real}} NOT NULL,
	disk_available_gb {{.Real}} NOT NULL,
	supervised {{.Int}} NOT NULL,
	mdm_status {{.Int}} NOT NULL,
	mdm_server_url {{.Str 1024}} NOT NULL,
	mdm_enrolled_at {{.Int}} NOT NULL,
	mdm_unenrolled_at {{.Int}} NOT NULL,
	bootstrap_held {{.Bool}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL,
	detail_updated_at {{.Int}} NOT NULL,
	label_updated_at {{.Int}} NOT NULL,
	last_enrolled_at {{.Int}} NOT NULL,
	refetch_at {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX hosts_uuid ON hosts (uuid);

CREATE INDEX hosts_serial ON hosts (hardware_serial);

CREATE INDEX hosts_hostname ON hosts (hostname, id);

CREATE INDEX hosts_computer_name ON hosts (computer_name, id);

CREATE INDEX hosts_mdm ON hosts (mdm_status, platform, id);

CREATE INDEX hosts_platform ON hosts (platform, id);

CREATE INDEX hosts_team ON hosts (team_id, id);

-- Last contact, apart from the host so that its batched writes stay narrow.
CREATE TABLE host_seen (
	host_id {{.ID}} NOT NULL PRIMARY KEY,
	seen_at {{.Int}} NOT NULL
){{.Opts}};

CREATE TABLE labels (
	id {{.ID}} NOT NULL PRIMARY KEY,
	name {{.Str 255}} NOT NULL,
	builtin {{.Bool}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX labels_name ON labels (name);

CREATE TABLE label_members (
	label_id {{.ID}} NOT NULL,
	host_id {{.ID}} NOT NULL,
	PRIMARY KEY (label_id, host_id)
){{.Clustered}};

CREATE INDEX label_members_host ON label_members (host_id, label_id);

-- Enrollment entities from which profiles are made.
CREATE TABLE enrollment_profiles (
	id {{.ID}} NOT NULL PRIMARY KEY,
	name {{.Str 255}} NOT NULL,
	kind {{.Int}} NOT NULL,
	team_id {{.ID}} NOT NULL,
	token {{.Str 100}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	created_by {{.ID}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX enrollment_profiles_name ON enrollment_profiles (name);

CREATE UNIQUE INDEX enrollment_profiles_token ON enrollment_profiles (token);

-- One-time secrets that allow one identity each.
CREATE TABLE challenges (
	secret_sha256 {{.Bin 32}} NOT NULL PRIMARY KEY,
	purpose {{.Int}} NOT NULL,
	profile_id {{.ID}} NOT NULL,
	enrollment_id {{.ID}} NOT NULL,
	server_url {{.Str 1024}} NOT NULL,
	checkin_url {{.Str 1024}} NOT NULL,
	access_rights {{.Int}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	expires_at {{.Int}} NOT NULL,
	used_at {{.Int}} NOT NULL,
	identity_id {{.ID}} NOT NULL
){{.Opts}};

CREATE INDEX challenges_expiry ON challenges (expires_at);

-- Issued device certificates.
CREATE TABLE identities (
	id {{.ID}} NOT NULL PRIMARY KEY,
	sha256 {{.Bin 32}} NOT NULL,
	serial_hex {{.Str 64}} NOT NULL,
	public_key_sha256 {{.Bin 32}} NOT NULL,
	purpose {{.Int}} NOT NULL,
	enrollment_id {{.ID}} NOT NULL,
	profile_id {{.ID}} NOT NULL,
	server_url {{.Str 1024}} NOT NULL,
	checkin_url {{.Str 1024}} NOT NULL,
	access_rights {{.Int}} NOT NULL,
	not_before {{.Int}} NOT NULL,
	not_after {{.Int}} NOT NULL,
	der {{.Blob}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	used_at {{.Int}} NOT NULL,
	superseded_at {{.Int}} NOT NULL,
	revoked_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX identities_sha256 ON identities (sha256);

CREATE INDEX identities_enrollment ON identities (enrollment_id, id);

CREATE INDEX identities_expiry ON identities (not_after);

-- MDM channels of Apple devices.
CREATE TABLE enrollments (
	id {{.ID}} NOT NULL PRIMARY KEY,
	enroll_key {{.Str 200}} NOT NULL,
	host_id {{.ID}} NOT NULL,
	parent_id {{.ID}} NOT NULL,
	channel {{.Int}} NOT NULL,
	state {{.Int}} NOT NULL,
	generation {{.Int}} NOT NULL,
	topic {{.Str 255}} NOT NULL,
	push_magic {{.Str 100}} NOT NULL,
	push_token {{.Bin 255}} NOT NULL,
	user_name {{.Str 255}} NOT NULL,
	serial {{.Str 100}} NOT NULL,
	model {{.Str 100}} NOT NULL,
	server_url {{.Str 1024}} NOT NULL,
	checkin_url {{.Str 1024}} NOT NULL,
	access_rights {{.Int}} NOT NULL,
	awaiting_configuration {{.Bool}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	enrolled_at {{.Int}} NOT NULL,
	token_updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX enrollments_key ON enrollments (enroll_key);

CREATE INDEX enrollments_host ON enrollments (host_id, parent_id, id);

CREATE INDEX enrollments_parent ON enrollments (parent_id, id);

-- When to push to an enrollment next, and what became of the last push.
CREATE TABLE pushes (
	enrollment_id {{.ID}} NOT NULL PRIMARY KEY,
	due_at {{.Int}} NOT NULL,
	attempts {{.Int}} NOT NULL,
	last_at {{.Int}} NOT NULL,
	last_reason {{.Str 100}} NOT NULL,
	broken_at {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX pushes_due ON pushes (due_at);

-- MDM commands; the body is stored once whatever the number of devices.
CREATE TABLE commands (
	id {{.ID}} NOT NULL PRIMARY KEY,
	uuid {{.Str 100}} NOT NULL,
	request_type {{.Str 100}} NOT NULL,
	purpose {{.Int}} NOT NULL,
	platform {{.Str 40}} NOT NULL,
	body {{.Blob}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	actor_kind {{.Int}} NOT NULL,
	actor_id {{.ID}} NOT NULL,
	actor_name {{.Str 255}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX commands_uuid ON commands (uuid);

-- What is not answered yet: small, apart from the history.
CREATE TABLE command_queue (
	enrollment_id {{.ID}} NOT NULL,
	seq {{.Int}} NOT NULL,
	command_id {{.ID}} NOT NULL,
	host_id {{.ID}} NOT NULL,
	held {{.Bool}} NOT NULL,
	not_now_count {{.Int}} NOT NULL,
	sends {{.Int}} NOT NULL,
	sent_at {{.Int}} NOT NULL,
	PRIMARY KEY (enrollment_id, seq, command_id)
){{.Clustered}};

CREATE UNIQUE INDEX command_queue_command ON command_queue (command_id, enrollment_id);

-- What was answered.
CREATE TABLE command_results (
	command_id {{.ID}} NOT NULL,
	enrollment_id {{.ID}} NOT NULL,
	host_id {{.ID}} NOT NULL,
	status {{.Int}} NOT NULL,
	result {{.Blob}} NOT NULL,
	updated_at {{.Int}} NOT NULL,
	sends {{.Int}} NOT NULL,
	not_now_count {{.Int}} NOT NULL,
	PRIMARY KEY (command_id, enrollment_id)
){{.Opts}};

CREATE INDEX command_results_host ON command_results (host_id, updated_at);

CREATE INDEX command_results_updated ON command_results (updated_at);

-- Targets of a command that are too many for one transaction.
CREATE TABLE command_fanouts (
	command_id {{.ID}} NOT NULL PRIMARY KEY,
	targets {{.Blob}} NOT NULL,
	total {{.Int}} NOT NULL,
	done {{.Int}} NOT NULL,
	created_at {{.Int}} NOT NULL
){{.Opts}};

-- The append-only log.
CREATE TABLE events (
	id {{.Serial}},
	at {{.Int}} NOT NULL,
	kind {{.Str 60}} NOT NULL,
	actor_kind {{.Int}} NOT NULL,
	actor_id {{.ID}} NOT NULL,
	actor_name {{.Str 255}} NOT NULL,
	actor_email {{.Str 255}} NOT NULL,
	address {{.Str 100}} NOT NULL,
	host_id {{.ID}} NOT NULL,
	enrollment_id {{.ID}} NOT NULL,
	command_id {{.ID}} NOT NULL,
	details {{.Blob}} NOT NULL
){{.Opts}};

CREATE INDEX events_host ON events (host_id, id);
