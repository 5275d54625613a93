-- The notes, as the records declare them: short texts beside a workspace.

CREATE TABLE notes (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  workspace TEXT NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  pinned INTEGER NOT NULL
) STRICT;

CREATE INDEX notes_by_workspace ON notes (workspace, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_by_pinned ON notes (pinned, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_by_updated_at ON notes (updated_at, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_by_title ON notes (title, id) WHERE deleted_at IS NULL;
