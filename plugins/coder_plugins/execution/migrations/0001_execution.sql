-- Execution's records: definitions, runs and their steps, attempts, waits, signals, artifacts, locks,
-- starts, and what is left of removed runs.
-- Only the state machine writes them, so none has a history; the indexes serve its look-ups and the lists.

CREATE TABLE execution_runs (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  source_ref TEXT,
  definition TEXT NOT NULL,
  status TEXT NOT NULL,
  mode TEXT NOT NULL,
  inputs TEXT NOT NULL,
  folder TEXT,
  rights TEXT NOT NULL,
  priority INTEGER NOT NULL,
  concurrency_key TEXT,
  only TEXT NOT NULL,
  parent_run TEXT,
  parent_step TEXT,
  depth INTEGER NOT NULL,
  forked_from TEXT,
  fork TEXT,
  redo TEXT NOT NULL,
  paused INTEGER NOT NULL,
  cancelling INTEGER NOT NULL,
  grace_ms INTEGER,
  compensating INTEGER NOT NULL,
  timed_out INTEGER NOT NULL,
  faulted INTEGER NOT NULL,
  deadline TEXT,
  deadline_at TEXT,
  started_at TEXT,
  finished_at TEXT,
  output TEXT,
  error TEXT,
  reason TEXT,
  moves INTEGER NOT NULL
) STRICT;

CREATE INDEX execution_runs_by_concurrency_key_status ON execution_runs (concurrency_key, status, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_by_deadline_at ON execution_runs (deadline_at, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_by_parent_run ON execution_runs (parent_run, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_by_source_ref ON execution_runs (source_ref, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_by_status ON execution_runs (status, id) WHERE finished_at IS NULL AND deleted_at IS NULL;

CREATE INDEX execution_runs_by_finished_at ON execution_runs (finished_at, id) WHERE finished_at IS NOT NULL AND deleted_at IS NULL;

CREATE INDEX execution_runs_by_definition ON execution_runs (definition, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_list_id ON execution_runs (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_list_status ON execution_runs (workspace_id, status, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_list_kind ON execution_runs (workspace_id, kind, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_list_forked_from ON execution_runs (workspace_id, forked_from, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_runs_list_created_at ON execution_runs (workspace_id, created_at, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_steps (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  run TEXT NOT NULL,
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  parent TEXT,
  role TEXT NOT NULL,
  kind TEXT NOT NULL,
  revision INTEGER NOT NULL,
  status TEXT NOT NULL,
  process INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  item TEXT,
  hash TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  recoveries INTEGER NOT NULL,
  ready_at TEXT,
  started_at TEXT,
  finished_at TEXT,
  active_ms INTEGER NOT NULL,
  output TEXT,
  artifact TEXT,
  error TEXT,
  reused_from TEXT,
  late_by_ms INTEGER,
  ended INTEGER,
  reason TEXT
) STRICT;

CREATE INDEX execution_steps_by_run ON execution_steps (run, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_steps_by_queue ON execution_steps (process, workspace_id, priority DESC, ready_at, run, position, id) WHERE status = 'ready' AND deleted_at IS NULL;

CREATE INDEX execution_steps_by_hash_workspace_id ON execution_steps (hash, workspace_id, id) WHERE status = 'succeeded' AND deleted_at IS NULL;

CREATE INDEX execution_steps_list_id ON execution_steps (workspace_id, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_attempts (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  run TEXT NOT NULL,
  key TEXT NOT NULL,
  n INTEGER NOT NULL,
  state TEXT NOT NULL,
  boot TEXT NOT NULL,
  effect TEXT NOT NULL,
  input TEXT NOT NULL,
  facts TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  timeout_ms INTEGER NOT NULL,
  started_at TEXT NOT NULL,
  ended_at TEXT,
  exit_code INTEGER,
  signal TEXT,
  error TEXT,
  log_bytes INTEGER NOT NULL
) STRICT;

CREATE INDEX execution_attempts_by_run ON execution_attempts (run, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_attempts_by_id ON execution_attempts (id) WHERE state IN ('intent', 'started') AND deleted_at IS NULL;

CREATE INDEX execution_attempts_list_id ON execution_attempts (workspace_id, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_waits (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  run TEXT NOT NULL,
  key TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  name TEXT,
  due_at TEXT,
  due_means TEXT NOT NULL,
  prompt TEXT,
  shown TEXT,
  shown_hash TEXT,
  choices TEXT NOT NULL,
  default_choice TEXT,
  decision TEXT,
  decided_by TEXT,
  decided_at TEXT,
  payload TEXT
) STRICT;

CREATE INDEX execution_waits_by_run ON execution_waits (run, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_waits_by_due_at ON execution_waits (due_at, id) WHERE status = 'open' AND deleted_at IS NULL;

CREATE INDEX execution_waits_list_id ON execution_waits (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_waits_list_status ON execution_waits (workspace_id, status, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_waits_list_kind ON execution_waits (workspace_id, kind, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_waits_list_due_at ON execution_waits (workspace_id, (due_at IS NULL), due_at, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_signals (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  run TEXT NOT NULL,
  name TEXT NOT NULL,
  dedupe_key TEXT,
  payload TEXT,
  consumed_by TEXT
) STRICT;

CREATE UNIQUE INDEX execution_signals_unique_run_dedupe_key ON execution_signals (run, dedupe_key) WHERE deleted_at IS NULL;

CREATE INDEX execution_signals_by_run_name ON execution_signals (run, name, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_signals_list_id ON execution_signals (workspace_id, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_artifacts (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  run TEXT NOT NULL,
  key TEXT NOT NULL,
  n INTEGER NOT NULL,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  media_type TEXT NOT NULL
) STRICT;

CREATE INDEX execution_artifacts_by_run_key ON execution_artifacts (run, key, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_artifacts_by_sha256 ON execution_artifacts (sha256, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_artifacts_list_id ON execution_artifacts (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_artifacts_list_run ON execution_artifacts (workspace_id, run, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_artifacts_list_key ON execution_artifacts (workspace_id, key, id) WHERE deleted_at IS NULL;

CREATE INDEX execution_artifacts_list_name ON execution_artifacts (workspace_id, name, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_locks (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  name TEXT NOT NULL,
  run TEXT NOT NULL,
  key TEXT NOT NULL
) STRICT;

CREATE INDEX execution_locks_list_id ON execution_locks (workspace_id, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_removals (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL
) STRICT;

CREATE INDEX execution_removals_list_id ON execution_removals (workspace_id, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_boots (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  pid INTEGER NOT NULL,
  stopped_at TEXT
) STRICT;

CREATE INDEX execution_boots_list_id ON execution_boots (workspace_id, id) WHERE deleted_at IS NULL;

CREATE TABLE execution_definitions (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE INDEX execution_definitions_list_id ON execution_definitions (workspace_id, id) WHERE deleted_at IS NULL;
