-- The schema of a version that does not exist, for tests of up- and downgrades.
CREATE TABLE next (
    note TEXT NOT NULL
) STRICT;
INSERT INTO next (note) VALUES ('made by the next version');
ALTER TABLE jobs ADD COLUMN next INTEGER NOT NULL DEFAULT 1;
