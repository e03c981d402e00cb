-- How many of a command's targets were pushed to, or made due: the queued ones
-- beyond are to be pushed to.
ALTER TABLE command_fanouts ADD COLUMN pushed {{.Int}} NOT NULL DEFAULT 0;

UPDATE command_fanouts SET pushed = done;
