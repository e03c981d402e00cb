-- A challenge that renews is for one generation of an enrollment.
ALTER TABLE challenges ADD COLUMN generation {{.Int}} NOT NULL DEFAULT 0;

ALTER TABLE identities ADD COLUMN generation {{.Int}} NOT NULL DEFAULT 0;

-- How often a device was told in Setup Assistant to update itself first.
ALTER TABLE ade_devices ADD COLUMN update_asks {{.Int}} NOT NULL DEFAULT 0;
