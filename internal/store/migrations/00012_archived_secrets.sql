-- PINs and recovery lock passwords of hosts that were deleted or enrolled anew:
-- the device may still ask for them. They are sealed in secrets, by the UUID of
-- their command.
CREATE TABLE archived_secrets (
	command_uuid {{.Str 64}} NOT NULL PRIMARY KEY,
	kind {{.Int}} NOT NULL,
	device_uuid {{.Str 100}} NOT NULL,
	serial {{.Str 100}} NOT NULL,
	archived_at {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX archived_secrets_serial ON archived_secrets (serial);

CREATE INDEX archived_secrets_device ON archived_secrets (device_uuid);

CREATE INDEX archived_secrets_age ON archived_secrets (archived_at);
