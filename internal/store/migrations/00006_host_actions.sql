-- What locks, wipes and other actions left behind on hosts. Secrets are
-- sealed in secrets, by the UUID of their command.
CREATE TABLE host_actions (
	host_id {{.ID}} NOT NULL PRIMARY KEY,
	status {{.Int}} NOT NULL,
	pending {{.Int}} NOT NULL,
	command_uuid {{.Str 64}} NOT NULL,
	pin_uuid {{.Str 64}} NOT NULL,
	error {{.Str 1024}} NOT NULL,
	recovery_uuid {{.Str 64}} NOT NULL,
	recovery_next {{.Str 64}} NOT NULL,
	recovery_at {{.Int}} NOT NULL,
	rotate_at {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX host_actions_rotate ON host_actions (rotate_at);

-- Requests that the brake counts, and those that wait for a second person or
-- for their time. targets is JSON; options are sealed.
CREATE TABLE action_requests (
	id {{.ID}} NOT NULL PRIMARY KEY,
	uuid {{.Str 64}} NOT NULL,
	kind {{.Int}} NOT NULL,
	phase {{.Int}} NOT NULL,
	hosts {{.Int}} NOT NULL,
	targets {{.Blob}} NOT NULL,
	actor_kind {{.Int}} NOT NULL,
	actor_id {{.ID}} NOT NULL,
	actor_name {{.Str 255}} NOT NULL,
	actor_email {{.Str 255}} NOT NULL,
	address {{.Str 100}} NOT NULL,
	decided_by {{.ID}} NOT NULL,
	decided_name {{.Str 255}} NOT NULL,
	decided_email {{.Str 255}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	due_at {{.Int}} NOT NULL,
	decided_at {{.Int}} NOT NULL,
	detail {{.Str 1024}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX action_requests_uuid ON action_requests (uuid);

CREATE INDEX action_requests_actor ON action_requests (actor_id, kind, created_at);

CREATE INDEX action_requests_due ON action_requests (phase, due_at);
