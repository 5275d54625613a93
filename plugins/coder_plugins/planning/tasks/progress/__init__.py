"""Progress: a task on its way from backlog to done, or dropped, and held meanwhile."""
