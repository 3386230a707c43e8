-- Which process leads. The row stays when its time is over: it holds the last term.
CREATE TABLE leaderships (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  term INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
