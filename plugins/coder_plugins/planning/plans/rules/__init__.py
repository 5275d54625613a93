"""Pure functions over the steps of plans: templates, checklists, differences, repairs; as in planning's own `rules`."""
