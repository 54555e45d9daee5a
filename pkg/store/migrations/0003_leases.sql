-- An address of the DHCP server's pool and the client that has it. A lease that
-- is over stays, so that the client gets the same address when it comes back.
CREATE TABLE leases (
    mac     TEXT PRIMARY KEY,
    addr    TEXT NOT NULL UNIQUE,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
