"""Places: the project, the parent and the place in the list that a task belongs to."""
