"""Times: the time that was spent on tasks, with one running timer for each person."""
