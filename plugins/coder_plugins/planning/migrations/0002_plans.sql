-- Plans, and the versions of what they do. An approval and a run point to a version, so none is ever changed.

CREATE TABLE planning_plans (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  title TEXT NOT NULL,
  goal TEXT NOT NULL,
  project TEXT,
  status TEXT NOT NULL,
  version INTEGER NOT NULL,
  content_hash TEXT NOT NULL,
  maker TEXT NOT NULL,
  run_hash TEXT,
  findings TEXT NOT NULL,
  approved_by TEXT,
  approved_at TEXT,
  approved_hash TEXT,
  run TEXT
) STRICT;

CREATE INDEX planning_plans_by_project ON planning_plans (project, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_plans_list_id ON planning_plans (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_plans_list_status ON planning_plans (workspace_id, status, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_plans_list_updated_at ON planning_plans (workspace_id, updated_at, id) WHERE deleted_at IS NULL;

CREATE TABLE planning_plan_versions (
  id TEXT PRIMARY KEY NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  rev INTEGER NOT NULL,
  deleted_at TEXT,
  origin TEXT NOT NULL,
  meta TEXT NOT NULL,
  plan TEXT NOT NULL,
  version INTEGER NOT NULL,
  content TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  maker TEXT NOT NULL,
  reason TEXT NOT NULL,
  feedback TEXT,
  run TEXT
) STRICT;

CREATE UNIQUE INDEX planning_plan_versions_unique_plan_version ON planning_plan_versions (plan, version) WHERE deleted_at IS NULL;

CREATE INDEX planning_plan_versions_list_id ON planning_plan_versions (workspace_id, id) WHERE deleted_at IS NULL;

CREATE INDEX planning_plan_versions_list_plan ON planning_plan_versions (workspace_id, plan, id) WHERE deleted_at IS NULL;
