-- refused: jobs that have not ended, which an older version may understand otherwise: SELECT count(*) FROM jobs WHERE ended = 0
-- lost: jobs that only probe their source: SELECT count(*) FROM jobs WHERE preview = 1
DELETE FROM jobs WHERE preview = 1;

DROP TRIGGER jobs_ended;
ALTER TABLE jobs DROP COLUMN preview;
CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs
WHEN NEW.state IN ('done', 'failed', 'cancelled') AND OLD.state <> NEW.state
BEGIN
    INSERT INTO hooks (job, state, request, output, entry, reason, ended)
    VALUES (NEW.id, NEW.state, NEW.request, NEW.output, NEW.entry, NEW.reason, NEW.ended);
END;
