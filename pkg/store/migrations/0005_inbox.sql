-- A file of the watch folder that was taken, so that it is not taken twice.
CREATE TABLE inbox (
    path     TEXT NOT NULL PRIMARY KEY, -- in the media share
    inode    INTEGER NOT NULL, -- it keeps these three when it is renamed
    size     INTEGER NOT NULL,
    mtime    INTEGER NOT NULL,
    job      INTEGER NOT NULL,
    reported INTEGER NOT NULL DEFAULT 0 -- its job has ended and that was said
) STRICT, WITHOUT ROWID;
