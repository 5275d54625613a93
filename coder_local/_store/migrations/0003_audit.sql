-- Why: who called what cannot be taken back, and what came of it. Lines are added, and go with age; none is changed.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  token TEXT,
  workspace_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  safety TEXT NOT NULL,
  outcome TEXT NOT NULL,
  request_id TEXT NOT NULL,
  input_hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'a line of audit is not changed'); END;
