-- lost: notes of the next version: SELECT count(*) FROM next
ALTER TABLE jobs DROP COLUMN next;
DROP TABLE next;
