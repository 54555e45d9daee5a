-- A job that only probes its source, for who wants to know what a request would
-- make. Lists do not have it, and nobody hears of its end.
ALTER TABLE jobs ADD COLUMN preview INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER jobs_ended;
CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs
WHEN NEW.state IN ('done', 'failed', 'cancelled') AND OLD.state <> NEW.state AND NEW.preview = 0
BEGIN
    INSERT INTO hooks (job, state, request, output, entry, reason, ended)
    VALUES (NEW.id, NEW.state, NEW.request, NEW.output, NEW.entry, NEW.reason, NEW.ended);
END;
