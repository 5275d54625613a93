"""Projects: tasks that belong together, with a target date and one unit of estimation."""
