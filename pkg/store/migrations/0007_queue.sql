-- Who gets what when. The rest of a job's terms is in its request.
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; -- 1 high, 0 normal, -1 low
ALTER TABLE jobs ADD COLUMN mux      INTEGER NOT NULL DEFAULT 0; -- muxer id of the worker that must do it; 0: any
ALTER TABLE jobs ADD COLUMN paused   INTEGER NOT NULL DEFAULT 0; -- 1: nothing of it is begun
ALTER TABLE jobs ADD COLUMN identity TEXT NOT NULL DEFAULT '';   -- hash of the video and of what is to become of it
UPDATE jobs SET mux = coalesce(json_extract(request, '$.mux_id'), 0);

-- The order in which jobs that have not ended get workers.
CREATE INDEX jobs_live ON jobs (priority DESC, mux DESC, id) WHERE ended = 0;
CREATE INDEX jobs_identity ON jobs (identity);
CREATE INDEX units_of_job ON units (job, state, seq);

-- A unit can have a second attempt beside the first, on a faster worker. The
-- first valid result of the two counts.
ALTER TABLE units ADD COLUMN second        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE units ADD COLUMN second_worker TEXT NOT NULL DEFAULT '';
ALTER TABLE units ADD COLUMN tries         INTEGER NOT NULL DEFAULT 0; -- the highest attempt there was
UPDATE units SET tries = attempt;

-- What is to be remembered of a worker.
CREATE TABLE workers (
    name    TEXT PRIMARY KEY,
    drained INTEGER NOT NULL DEFAULT 0, -- 1: it gets no work
    speeds  TEXT NOT NULL DEFAULT '[]'  -- JSON, as measured here
) STRICT, WITHOUT ROWID;
