-- A video to be transcoded. request, probe and plan are JSON.
CREATE TABLE jobs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    state   TEXT NOT NULL, -- queued, running, publishing, done, failed, cancelled
    request TEXT NOT NULL,
    probe   TEXT NOT NULL DEFAULT '',
    plan    TEXT NOT NULL DEFAULT '',
    output  TEXT NOT NULL DEFAULT '', -- path of the master playlist in the media share
    reason  TEXT NOT NULL DEFAULT '', -- why it failed
    created INTEGER NOT NULL,
    started INTEGER NOT NULL DEFAULT 0,
    ended   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A piece of a job that one worker does.
CREATE TABLE units (
    job      INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    unit     TEXT NOT NULL,
    spec     TEXT NOT NULL, -- JSON
    state    TEXT NOT NULL, -- pending, running, done, failed
    attempt  INTEGER NOT NULL DEFAULT 0, -- the one attempt whose result counts
    worker   TEXT NOT NULL DEFAULT '',
    deadline INTEGER NOT NULL DEFAULT 0, -- when the claim expires
    result   TEXT NOT NULL DEFAULT '', -- JSON
    PRIMARY KEY (job, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX units_state ON units (state, job);

-- One claim of a unit and how it ended.
CREATE TABLE attempts (
    job     INTEGER NOT NULL,
    unit    TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    worker  TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended   INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '', -- done, failed, expired
    detail  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, unit, attempt),
    FOREIGN KEY (job, unit) REFERENCES units (job, unit) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
