DROP INDEX inbox_unreported;
DROP INDEX inbox_inode;
ALTER TABLE jobs DROP COLUMN source;
