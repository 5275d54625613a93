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

CREATE INDEX notes_list_id ON notes (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_list_workspace ON notes (workspace_id, workspace, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_list_pinned ON notes (workspace_id, pinned, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_list_updated_at ON notes (workspace_id, updated_at, id) WHERE deleted_at IS NULL;

CREATE INDEX notes_list_title ON notes (workspace_id, title, id) WHERE deleted_at IS NULL;
