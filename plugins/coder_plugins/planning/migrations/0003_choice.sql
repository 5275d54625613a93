-- Choosing looks at every open task: an index that holds all it reads spares it the pages of long descriptions.

CREATE INDEX planning_tasks_by_choice ON planning_tasks (workspace_id, status, priority, due, created_at, tags, project, hold_reason, hold_until, wait_until, rank, id) WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL;
