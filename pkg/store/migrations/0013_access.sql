-- The admin's password. There is one admin.
CREATE TABLE admin (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    password TEXT NOT NULL, -- its argon2id hash, with salt and cost
    changed  INTEGER NOT NULL
) STRICT;

-- The code of a set-up link, of which there is one at a time.
CREATE TABLE setup_code (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    hash    BLOB NOT NULL, -- SHA-256
    expires INTEGER NOT NULL
) STRICT;

-- A browser that is logged in.
CREATE TABLE sessions (
    hash    BLOB PRIMARY KEY, -- SHA-256 of its cookie
    addr    TEXT NOT NULL, -- where it logged in from
    made    INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A program that may use the API.
CREATE TABLE tokens (
    name  TEXT PRIMARY KEY,
    scope TEXT NOT NULL,
    hash  BLOB NOT NULL UNIQUE, -- SHA-256
    made  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who changed what.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    who    TEXT NOT NULL,
    addr   TEXT NOT NULL, -- '': this machine's control socket
    method TEXT NOT NULL,
    path   TEXT NOT NULL,
    status INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
