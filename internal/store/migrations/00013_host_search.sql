-- What a free-text search looks through, in lower case: narrow, so that looking
-- through all hosts reads little.
CREATE TABLE host_search (
	host_id {{.ID}} NOT NULL PRIMARY KEY,
	words {{.Str 1000}} NOT NULL
){{.Opts}};

INSERT INTO host_search (host_id, words)
SELECT id, LOWER(CONCAT_WS('
', hostname, computer_name, hardware_serial, uuid, primary_mac)) FROM hosts;
