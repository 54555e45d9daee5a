-- A video to be transcoded. request, probe, plan and stderr are JSON.
CREATE TABLE jobs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: it names files and messages
    state   TEXT NOT NULL, -- queued, running, publishing, done, failed, cancelled
    request TEXT NOT NULL,
    probe   TEXT NOT NULL DEFAULT '',
    plan    TEXT NOT NULL DEFAULT '', -- without its units, which have a table of their own
    output  TEXT NOT NULL DEFAULT '', -- directory in the media share, chosen before it is made
    reason  TEXT NOT NULL DEFAULT '', -- why it failed, or why publishing has to wait
    stderr  TEXT NOT NULL DEFAULT '[]', -- ffmpeg's last lines
    created INTEGER NOT NULL,
    started INTEGER NOT NULL DEFAULT 0,
    ended   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_state ON jobs (state);

-- A piece of a job that one worker does.
CREATE TABLE units (
    job     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    unit    TEXT NOT NULL,
    seq     INTEGER NOT NULL, -- its place in the plan; the probe is 0
    kind    TEXT NOT NULL,
    spec    TEXT NOT NULL, -- JSON
    frames  INTEGER NOT NULL, -- of video to encode; 0 for other kinds
    state   TEXT NOT NULL, -- pending, running, done, failed, cancelled
    attempt INTEGER NOT NULL DEFAULT 0, -- the one attempt whose result counts
    worker  TEXT NOT NULL DEFAULT '', -- who has or had that attempt
    result  TEXT NOT NULL DEFAULT '', -- JSON, of a unit that is done
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
    outcome TEXT NOT NULL DEFAULT '', -- done, failed, expired, given_up, cancelled
    detail  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, unit, attempt),
    FOREIGN KEY (job, unit) REFERENCES units (job, unit) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
