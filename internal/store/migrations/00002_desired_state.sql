CREATE TABLE teams (
	id {{.ID}} NOT NULL PRIMARY KEY,
	name {{.Str 255}} NOT NULL,
	description {{.Str 1024}} NOT NULL,
	settings {{.Blob}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX teams_name ON teams (name);

-- What a scope's hosts should have is numbered: a change of items counts
-- revision up, and hosts that were planned for an older one are behind.
-- settled is the revision that no host is behind. Key 0: hosts without a team.
CREATE TABLE scopes (
	team_id {{.ID}} NOT NULL PRIMARY KEY,
	revision {{.Int}} NOT NULL,
	settled {{.Int}} NOT NULL
){{.Clustered}};

INSERT INTO scopes (team_id, revision, settled) VALUES (0, 1, 0);

-- Labels that are not built in.
CREATE TABLE label_rules (
	label_id {{.ID}} NOT NULL PRIMARY KEY,
	kind {{.Int}} NOT NULL,
	description {{.Str 1024}} NOT NULL,
	query {{.Text}} NOT NULL,
	platform {{.Str 40}} NOT NULL,
	criteria {{.Blob}} NOT NULL
){{.Clustered}};

-- 1: member, 2: no member. Without a row it depends on the kind of label.
ALTER TABLE label_members ADD COLUMN member {{.Int}} NOT NULL DEFAULT 1;

-- Contents by their SHA-256, stored once.
CREATE TABLE contents (
	sha256 {{.Bin 32}} NOT NULL PRIMARY KEY,
	body {{.Blob}} NOT NULL,
	created_at {{.Int}} NOT NULL
){{.Opts}};

-- Configuration profiles and declarations. A deleted one stays until no host
-- has to lose it any more.
CREATE TABLE items (
	id {{.ID}} NOT NULL PRIMARY KEY,
	uuid {{.Str 40}} NOT NULL,
	team_id {{.ID}} NOT NULL,
	kind {{.Int}} NOT NULL,
	owner {{.Int}} NOT NULL,
	identifier {{.Str 255}} NOT NULL,
	name {{.Str 255}} NOT NULL,
	scope {{.Int}} NOT NULL,
	platforms {{.Int}} NOT NULL,
	version {{.Int}} NOT NULL,
	previous {{.Int}} NOT NULL,
	rollout {{.Blob}} NOT NULL,
	resend_at {{.Int}} NOT NULL,
	resend_match {{.Str 255}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	uploaded_at {{.Int}} NOT NULL,
	deleted_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX items_uuid ON items (uuid);

CREATE UNIQUE INDEX items_identifier ON items (team_id, kind, identifier, deleted_at);

CREATE UNIQUE INDEX items_name ON items (team_id, name, deleted_at);

CREATE TABLE item_versions (
	item_id {{.ID}} NOT NULL,
	version {{.Int}} NOT NULL,
	sha256 {{.Bin 32}} NOT NULL,
	spec {{.Blob}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	actor_id {{.ID}} NOT NULL,
	actor_name {{.Str 255}} NOT NULL,
	PRIMARY KEY (item_id, version)
){{.Clustered}};

CREATE INDEX item_versions_content ON item_versions (sha256);

-- label_id 0: the label was deleted.
CREATE TABLE item_labels (
	item_id {{.ID}} NOT NULL,
	mode {{.Int}} NOT NULL,
	name {{.Str 255}} NOT NULL,
	label_id {{.ID}} NOT NULL,
	PRIMARY KEY (item_id, mode, name)
){{.Clustered}};

CREATE INDEX item_labels_label ON item_labels (label_id);

-- How far each host has come; narrow, because every plan writes it.
CREATE TABLE host_states (
	host_id {{.ID}} NOT NULL PRIMARY KEY,
	team_id {{.ID}} NOT NULL,
	revision {{.Int}} NOT NULL,
	due_at {{.Int}} NOT NULL,
	seq {{.Int}} NOT NULL,
	status {{.Int}} NOT NULL,
	pending {{.Int}} NOT NULL,
	verifying {{.Int}} NOT NULL,
	verified {{.Int}} NOT NULL,
	failed {{.Int}} NOT NULL,
	verify_at {{.Int}} NOT NULL,
	asked_at {{.Int}} NOT NULL,
	listed_at {{.Int}} NOT NULL
){{.Clustered}};

CREATE INDEX host_states_behind ON host_states (team_id, revision);

CREATE INDEX host_states_due ON host_states (due_at);

CREATE INDEX host_states_status ON host_states (team_id, status, revision);

INSERT INTO host_states (host_id, team_id, revision, due_at, seq, status, pending, verifying, verified, failed, verify_at, asked_at, listed_at)
	SELECT id, team_id, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM hosts;

CREATE TABLE host_items (
	host_id {{.ID}} NOT NULL,
	item_id {{.ID}} NOT NULL,
	version {{.Int}} NOT NULL,
	op {{.Int}} NOT NULL,
	status {{.Int}} NOT NULL,
	fault {{.Int}} NOT NULL,
	tries {{.Int}} NOT NULL,
	attempt {{.Int}} NOT NULL,
	params {{.Bin 16}} NOT NULL,
	enrollment_id {{.ID}} NOT NULL,
	command_id {{.ID}} NOT NULL,
	detail {{.Str 1024}} NOT NULL,
	changed_at {{.Int}} NOT NULL,
	next_at {{.Int}} NOT NULL,
	verified_at {{.Int}} NOT NULL,
	PRIMARY KEY (host_id, item_id)
){{.Clustered}};

CREATE INDEX host_items_item ON host_items (item_id, status, version, host_id);

-- Declarative management on each MDM channel.
CREATE TABLE ddm_channels (
	enrollment_id {{.ID}} NOT NULL PRIMARY KEY,
	host_id {{.ID}} NOT NULL,
	manifest {{.Blob}} NOT NULL,
	previous {{.Blob}} NOT NULL,
	fetched {{.Str 64}} NOT NULL,
	announced {{.Str 64}} NOT NULL,
	nonce {{.Int}} NOT NULL,
	reported_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX ddm_channels_host ON ddm_channels (host_id);

-- The merged status of a channel, as its reports built it up.
CREATE TABLE ddm_status (
	enrollment_id {{.ID}} NOT NULL PRIMARY KEY,
	report {{.Blob}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

-- Moves of hosts that are too many for one transaction.
CREATE TABLE host_moves (
	id {{.ID}} NOT NULL PRIMARY KEY,
	team_id {{.ID}} NOT NULL,
	hosts {{.Blob}} NOT NULL,
	total {{.Int}} NOT NULL,
	done {{.Int}} NOT NULL,
	created_at {{.Int}} NOT NULL
){{.Opts}};

ALTER TABLE commands ADD COLUMN item_id {{.ID}} NOT NULL DEFAULT 0;

ALTER TABLE commands ADD COLUMN item_version {{.Int}} NOT NULL DEFAULT 0;

ALTER TABLE commands ADD COLUMN expand {{.Bool}} NOT NULL DEFAULT FALSE;
