-- What a worker must have to do a job: labels in order, with spaces between; '': nothing.
ALTER TABLE jobs ADD COLUMN labels TEXT NOT NULL DEFAULT '';

-- The order in which jobs that have not ended get workers: what not all may do first.
DROP INDEX jobs_live;
CREATE INDEX jobs_live ON jobs (priority DESC, mux DESC, (labels <> '') DESC, id) WHERE ended = 0;
CREATE INDEX jobs_labelled ON jobs (labels) WHERE ended = 0 AND labels <> '';
