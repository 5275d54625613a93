"""Finding: tasks and projects by what people call them, and the key and rank of a new task."""
