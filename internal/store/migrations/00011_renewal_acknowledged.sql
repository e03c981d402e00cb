-- Whether the device said that it carried the renewal out. Its command is off
-- the queue then.
ALTER TABLE renewals ADD COLUMN acknowledged {{.Bool}} NOT NULL DEFAULT FALSE;
