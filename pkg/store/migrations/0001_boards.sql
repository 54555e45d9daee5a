-- A registered board. serial, mac and ip are text in their usual forms.
-- settings is what the user asked for (kernel arguments, gpu_mem, ...), as JSON.
CREATE TABLE pis (
    id       INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: it is the NFS export's id
    serial   TEXT NOT NULL UNIQUE,
    mac      TEXT NOT NULL UNIQUE,
    name     TEXT NOT NULL UNIQUE,
    ip       TEXT NOT NULL UNIQUE,
    template TEXT NOT NULL,
    version  INTEGER NOT NULL,
    arch     TEXT NOT NULL,
    settings TEXT NOT NULL,
    token    TEXT NOT NULL, -- SHA-256 of the worker's token, hex
    added    INTEGER NOT NULL -- Unix nanoseconds, as all times here
) STRICT;

-- A board that asked for an address or a file and is not registered.
CREATE TABLE discovered (
    mac        TEXT PRIMARY KEY,
    serial     TEXT NOT NULL, -- '' where its boot code does not tell
    model      TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL
) STRICT;

-- What happened to a board while it booted and worked.
CREATE TABLE events (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    board TEXT NOT NULL, -- serial, or MAC of one that is not registered
    event TEXT NOT NULL  -- JSON, without the id
) STRICT;
CREATE INDEX events_board ON events (board, id);
