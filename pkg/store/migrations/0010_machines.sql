-- A machine that is no board and whose worker may come to the queue.
CREATE TABLE machines (
    name     TEXT PRIMARY KEY, -- its worker's, too
    settings TEXT NOT NULL, -- JSON, those of boards' that apply
    token    TEXT NOT NULL, -- SHA-256 of the worker's token, hex
    added    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
