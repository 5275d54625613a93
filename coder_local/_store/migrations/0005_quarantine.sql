-- Why: a plugin that was set aside because it failed again and again must stay so over a restart, with the reason.
-- Empty while it may run; the person enabling or disabling the plugin writes the row anew, and so lifts it.
ALTER TABLE plugin_grant ADD COLUMN quarantined TEXT NOT NULL DEFAULT '';
