"""Plans: steps that were thought out before they run, checked, approved by a person, and then run by execution."""
