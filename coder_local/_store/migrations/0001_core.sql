-- Why: the tables that every plugin stands on: order of events, history, repeated calls, numbers, grants and tokens.

-- Facts about the database itself: its epoch (changed by restore), the plugins' migrations that are in it.
CREATE TABLE store_meta (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: without it SQLite may give the highest number again after trimming.
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  type TEXT NOT NULL,
  subject TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  actor TEXT NOT NULL,
  cause INTEGER,
  depth INTEGER NOT NULL DEFAULT 0,
  class TEXT NOT NULL DEFAULT 'normal',
  data TEXT NOT NULL
) STRICT;

-- One row for each record that a command wrote; the rows of one command share change_set, the seq of the first.
CREATE TABLE change (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  change_set INTEGER NOT NULL,
  at INTEGER NOT NULL,
  workspace_id TEXT NOT NULL,
  actor TEXT NOT NULL,
  operation TEXT NOT NULL,
  table_name TEXT NOT NULL,
  record_id TEXT NOT NULL,
  rev INTEGER NOT NULL,
  before TEXT,
  after TEXT NOT NULL,
  undone_by INTEGER
) STRICT;
CREATE INDEX change_by_record ON change (record_id, seq);
CREATE INDEX change_by_workspace ON change (workspace_id, seq);
CREATE INDEX change_by_undone ON change (undone_by) WHERE undone_by IS NOT NULL;

-- A repeated call gets its first answer for 24 hours.
CREATE TABLE idempotency (
  actor TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  key TEXT NOT NULL,
  operation TEXT NOT NULL,
  input_hash BLOB NOT NULL,
  answer BLOB NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (actor, workspace_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_at ON idempotency (at);

-- The last number given of each counter (human keys such as PLAN-12), never given again.
CREATE TABLE counter (
  name TEXT PRIMARY KEY NOT NULL,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Durable readers of the event log; trimming waits for the live ones.
CREATE TABLE event_consumer (
  name TEXT PRIMARY KEY NOT NULL,
  cursor INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'ok',
  failures INTEGER NOT NULL DEFAULT 0,
  last_error TEXT,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Third-party plugins that the person enabled, each for one exact content.
CREATE TABLE plugin_grant (
  name TEXT PRIMARY KEY NOT NULL,
  source TEXT NOT NULL,
  location TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Scoped tokens; only the SHA-256 of each is kept.
CREATE TABLE token (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  hash BLOB NOT NULL,
  actor TEXT NOT NULL,
  scopes TEXT NOT NULL,
  limits TEXT,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX token_by_hash ON token (hash);

CREATE TABLE setting (
  plugin TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (plugin, name)
) STRICT, WITHOUT ROWID;
