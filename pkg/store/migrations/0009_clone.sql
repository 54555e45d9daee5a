-- How the root of a board was cloned; '' where it was not noted.
ALTER TABLE pis ADD COLUMN clone TEXT NOT NULL DEFAULT '';
