-- The books of the shelf, and which of the finished ones were noticed.

CREATE TABLE shelf_books (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  title TEXT NOT NULL,
  author TEXT NOT NULL,
  state TEXT NOT NULL,
  place INTEGER
) STRICT;

CREATE UNIQUE INDEX shelf_books_unique_workspace_id_title ON shelf_books (workspace_id, title) WHERE deleted_at IS NULL;

CREATE INDEX shelf_books_list_id ON shelf_books (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX shelf_books_list_state ON shelf_books (workspace_id, state, id) WHERE deleted_at IS NULL;

CREATE INDEX shelf_books_list_title ON shelf_books (workspace_id, title, id) WHERE deleted_at IS NULL;

CREATE TABLE shelf_marks (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  book TEXT NOT NULL
) STRICT;

CREATE INDEX shelf_marks_list_id ON shelf_marks (workspace_id, id) WHERE deleted_at IS NULL;
