-- When each enrolled host is asked for its vitals. waiting are the parts that
-- were asked for and not answered; period is the pause after all were. Narrow,
-- because every refetch writes it.
CREATE TABLE host_refetches (
	host_id {{.ID}} NOT NULL PRIMARY KEY,
	due_at {{.Int}} NOT NULL,
	waiting {{.Int}} NOT NULL,
	period {{.Int}} NOT NULL,
	fault {{.Str 255}} NOT NULL
){{.Clustered}};

CREATE INDEX host_refetches_due ON host_refetches (due_at);

INSERT INTO host_refetches (host_id, due_at, waiting, period, fault) SELECT id, 1, 0, 0, '' FROM hosts WHERE mdm_status IN (3, 4, 5);

-- Facts that only a host's detail shows. Truth values: 0 unknown, 1 yes, 2 no.
CREATE TABLE host_vitals (
	host_id {{.ID}} NOT NULL PRIMARY KEY,
	model_name {{.Str 100}} NOT NULL,
	model_number {{.Str 100}} NOT NULL,
	bluetooth_mac {{.Str 40}} NOT NULL,
	ethernet_mac {{.Str 40}} NOT NULL,
	time_zone {{.Str 100}} NOT NULL,
	imei {{.Str 40}} NOT NULL,
	meid {{.Str 40}} NOT NULL,
	battery_level {{.Real}} NOT NULL,
	battery_health {{.Str 40}} NOT NULL,
	secure_boot {{.Str 40}} NOT NULL,
	update_state {{.Str 40}} NOT NULL,
	update_version {{.Str 40}} NOT NULL,
	update_failure {{.Str 255}} NOT NULL,
	lost_mode {{.Int}} NOT NULL,
	activation_lock {{.Int}} NOT NULL,
	find_my {{.Int}} NOT NULL,
	cloud_backup {{.Int}} NOT NULL,
	passcode_present {{.Int}} NOT NULL,
	passcode_compliant {{.Int}} NOT NULL,
	filevault {{.Int}} NOT NULL,
	firewall {{.Int}} NOT NULL,
	sip {{.Int}} NOT NULL,
	recovery_lock {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL
){{.Clustered}};

-- What a host's lists were made of when they last changed, so that one that
-- did not change is not compared row by row.
CREATE TABLE host_lists (
	host_id {{.ID}} NOT NULL,
	kind {{.Int}} NOT NULL,
	sha256 {{.Bin 32}} NOT NULL,
	entries {{.Int}} NOT NULL,
	updated_at {{.Int}} NOT NULL,
	PRIMARY KEY (host_id, kind)
){{.Clustered}};

-- Every version of a title, once for all hosts. unused_at: since when no host
-- has it; such rows go after a while.
CREATE TABLE software (
	id {{.ID}} NOT NULL PRIMARY KEY,
	sha256 {{.Bin 32}} NOT NULL,
	name {{.Str 255}} NOT NULL,
	version {{.Str 255}} NOT NULL,
	bundle_id {{.Str 255}} NOT NULL,
	source {{.Str 40}} NOT NULL,
	unused_at {{.Int}} NOT NULL
){{.Opts}};

CREATE UNIQUE INDEX software_sha256 ON software (sha256);

CREATE INDEX software_name ON software (name, id);

CREATE TABLE host_software (
	host_id {{.ID}} NOT NULL,
	software_id {{.ID}} NOT NULL,
	PRIMARY KEY (host_id, software_id)
){{.Clustered}};

CREATE INDEX host_software_software ON host_software (software_id);

CREATE TABLE host_certificates (
	host_id {{.ID}} NOT NULL,
	sha256 {{.Bin 32}} NOT NULL,
	common_name {{.Str 255}} NOT NULL,
	has_key {{.Bool}} NOT NULL,
	not_after {{.Int}} NOT NULL,
	der {{.Blob}} NOT NULL,
	PRIMARY KEY (host_id, sha256)
){{.Clustered}};
