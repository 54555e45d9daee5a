-- lost: the admin's password: SELECT count(*) FROM admin
-- lost: logins of browsers: SELECT count(*) FROM sessions
-- lost: tokens of programs: SELECT count(*) FROM tokens
-- lost: lines of the audit log: SELECT count(*) FROM audit
DROP TABLE audit;
DROP TABLE tokens;
DROP TABLE sessions;
DROP TABLE setup_code;
DROP TABLE admin;
