-- Planning's records: projects, tasks, links between records, and time spent.
-- The indexes serve uniqueness, the filters and orders of lists, and the one running timer of an actor.

CREATE TABLE planning_projects (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  name TEXT NOT NULL,
  key TEXT NOT NULL,
  lead TEXT,
  status TEXT NOT NULL,
  goal TEXT,
  start TEXT,
  target TEXT,
  unit TEXT NOT NULL,
  archived_at TEXT,
  source TEXT
) STRICT;

CREATE UNIQUE INDEX planning_projects_unique_workspace_id_key ON planning_projects (workspace_id, key) WHERE deleted_at IS NULL;

CREATE UNIQUE INDEX planning_projects_unique_workspace_id_source ON planning_projects (workspace_id, source) WHERE deleted_at IS NULL;

CREATE INDEX planning_projects_list_id ON planning_projects (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_projects_list_status ON planning_projects (workspace_id, status, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_projects_list_name ON planning_projects (workspace_id, name, id) WHERE deleted_at IS NULL;

CREATE TABLE planning_tasks (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  key TEXT NOT NULL,
  project TEXT,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  kind TEXT,
  status TEXT NOT NULL,
  priority TEXT NOT NULL,
  estimate TEXT,
  due TEXT,
  wait_until TEXT,
  recurrence TEXT,
  missed INTEGER NOT NULL,
  recurred_as TEXT,
  assignee TEXT,
  tags TEXT NOT NULL,
  rank TEXT NOT NULL,
  hold_reason TEXT,
  hold_until TEXT,
  checklist TEXT NOT NULL,
  started_at TEXT,
  completed_at TEXT,
  source TEXT
) STRICT;

CREATE UNIQUE INDEX planning_tasks_unique_workspace_id_key ON planning_tasks (workspace_id, key) WHERE deleted_at IS NULL;

CREATE UNIQUE INDEX planning_tasks_unique_workspace_id_source ON planning_tasks (workspace_id, source) WHERE deleted_at IS NULL;

CREATE INDEX planning_tasks_by_project ON planning_tasks (project, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_tasks_list_id ON planning_tasks (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_tasks_list_status ON planning_tasks (workspace_id, status, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_tasks_list_rank ON planning_tasks (workspace_id, rank, id) WHERE deleted_at IS NULL;

CREATE TABLE planning_links (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  source TEXT NOT NULL,
  target TEXT NOT NULL,
  kind TEXT NOT NULL,
  source_type TEXT NOT NULL,
  target_type TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX planning_links_unique_source_target_kind ON planning_links (source, target, kind) WHERE deleted_at IS NULL;

CREATE INDEX planning_links_by_target ON planning_links (target, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_links_list_id ON planning_links (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_links_list_source ON planning_links (workspace_id, source, id) WHERE deleted_at IS NULL;

CREATE TABLE planning_times (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  task TEXT NOT NULL,
  started_at TEXT NOT NULL,
  stopped_at TEXT,
  actor TEXT NOT NULL,
  minutes INTEGER
) STRICT;

CREATE INDEX planning_times_by_actor_stopped_at ON planning_times (actor, stopped_at, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_times_by_task ON planning_times (task, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_times_list_id ON planning_times (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_times_list_started_at ON planning_times (workspace_id, started_at, id) WHERE deleted_at IS NULL;
