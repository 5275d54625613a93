-- The one table that is measured.
CREATE TABLE bench_items (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  points REAL,
  due TEXT,
  started_at TEXT,
  done INTEGER NOT NULL,
  owner TEXT NOT NULL,
  url TEXT NOT NULL,
  tags TEXT NOT NULL,
  number INTEGER NOT NULL
) STRICT;
CREATE INDEX bench_items_by_title ON bench_items (title, id) WHERE deleted_at IS NULL;
