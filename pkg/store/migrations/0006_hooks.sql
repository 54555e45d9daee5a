-- The end of a job that somebody is still to be told of. What is told stands
-- here, since the job may be removed or go on meanwhile.
CREATE TABLE hooks (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: who is told twice knows it by this
    job     INTEGER NOT NULL,
    state   TEXT NOT NULL,
    request TEXT NOT NULL, -- JSON
    output  TEXT NOT NULL,
    entry   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    ended   INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    due     INTEGER NOT NULL DEFAULT 0 -- not before this time
) STRICT;
CREATE INDEX hooks_due ON hooks (due);

-- In the transaction that ends the job: a daemon that is killed right after it
-- has not forgotten to tell.
CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs
WHEN NEW.state IN ('done', 'failed', 'cancelled') AND OLD.state <> NEW.state
BEGIN
    INSERT INTO hooks (job, state, request, output, entry, reason, ended)
    VALUES (NEW.id, NEW.state, NEW.request, NEW.output, NEW.entry, NEW.reason, NEW.ended);
END;
