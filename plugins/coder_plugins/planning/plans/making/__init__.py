"""Making: plans from templates and from Markdown checklists, without a model."""
