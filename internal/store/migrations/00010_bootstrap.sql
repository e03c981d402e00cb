-- A team has one package. One that is still being uploaded has the negative of
-- its own key there.
CREATE UNIQUE INDEX bootstrap_packages_one ON bootstrap_packages (team_id);

ALTER TABLE bootstrap_packages ADD COLUMN signer {{.Str 255}} NOT NULL DEFAULT '';

-- What became of the package: 1 pending, 2 installed, 3 failed.
ALTER TABLE setups ADD COLUMN package_name {{.Str 255}} NOT NULL DEFAULT '';

ALTER TABLE setups ADD COLUMN package_status {{.Int}} NOT NULL DEFAULT 0;

CREATE INDEX setups_package ON setups (package_status, state, enrollment_id);

-- Tokens by which people enroll devices of their own with a managed Apple
-- account.
CREATE TABLE account_tokens (
	token_sha256 {{.Bin 32}} NOT NULL PRIMARY KEY,
	managed_apple_id {{.Str 255}} NOT NULL,
	team_id {{.ID}} NOT NULL,
	created_at {{.Int}} NOT NULL,
	expires_at {{.Int}} NOT NULL,
	used_at {{.Int}} NOT NULL
){{.Opts}};

CREATE INDEX account_tokens_expires ON account_tokens (expires_at);
