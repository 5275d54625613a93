-- Why: an event that a durable consumer cannot take must not hold it up, and must not be forgotten either.

-- Events that were parked, by the consumer that failed at them.
CREATE TABLE event_dead (
  consumer TEXT NOT NULL,
  seq INTEGER NOT NULL,
  error TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (consumer, seq)
) STRICT, WITHOUT ROWID;
