-- A team has one package. One that is still being uploaded has the negative of
-- its own key there.
CREATE UNIQUE INDEX bootstrap_packages_one ON bootstrap_packages (team_id);

ALTER TABLE bootstrap_packages ADD COLUMN signer {{.Str 255}} NOT NULL DEFAULT '';

-- What became of the package: 1 pending, 2 installed, 3 failed.
ALTER TABLE setups ADD COLUMN package_name {{.Str 255}} NOT NULL DEFAULT '';

ALTER TABLE setups ADD COLUMN package_status {{.Int}} NOT NULL DEFAULT 0;

CREATE INDEX setups_package ON setups (package_status, state, enrollment_id);
