-- Why: a line that was changed or taken away behind the daemon's back must show, and what was refused at a door has more
-- to tell than an operation's name. Lines of before stay as they are, without a hash.
ALTER TABLE audit ADD COLUMN detail TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN prev_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT '';
