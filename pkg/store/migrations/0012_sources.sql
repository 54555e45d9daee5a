-- What a source was when its job was handed in, so that one that is replaced
-- meanwhile is not taken for it. '': unknown, of a job of an earlier version.
ALTER TABLE jobs ADD COLUMN source TEXT NOT NULL DEFAULT '';

-- A file is looked up by its inode, which it keeps when it is renamed.
CREATE INDEX inbox_inode ON inbox (inode);
CREATE INDEX inbox_unreported ON inbox (job) WHERE reported = 0;
