-- The source of a job that is done, until it is put away or is to stay.
CREATE TABLE originals (
    job     INTEGER PRIMARY KEY,
    source  TEXT NOT NULL, -- in the media share
    output  TEXT NOT NULL, -- what it has become: a file or a directory there
    started INTEGER NOT NULL, -- a source that changed since then is another one
    ended   INTEGER NOT NULL,
    muxer   TEXT NOT NULL  -- the foreign muxer that may put it away; '': the server does
) STRICT;

CREATE TRIGGER jobs_done AFTER UPDATE OF state ON jobs
WHEN NEW.state = 'done' AND OLD.state <> NEW.state
BEGIN
    INSERT OR REPLACE INTO originals (job, source, output, started, ended, muxer)
    VALUES (NEW.id, json_extract(NEW.request, '$.source'), NEW.output, NEW.started, NEW.ended,
        coalesce((SELECT worker FROM units WHERE job = NEW.id AND unit = 'probe' AND worker LIKE 'muxer-%'), ''));
END;
