"""The kinds of steps that come with execution; other plugins add theirs by the hook `step_kinds`."""
