-- Form 1 of the journal. Never changed; another form follows it under another number.
CREATE TABLE journal (
  seq    INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  stack  TEXT,
  kind   TEXT NOT NULL,
  change INTEGER NOT NULL,
  actor  TEXT NOT NULL,
  body   TEXT NOT NULL,
  blobs  TEXT NOT NULL,
  hash   TEXT NOT NULL,
  prev   TEXT NOT NULL
) STRICT;
CREATE INDEX journal_stack ON journal (stack, change, seq);
CREATE INDEX journal_change ON journal (change, seq);
CREATE TABLE blobs (
  digest  TEXT PRIMARY KEY,
  content BLOB NOT NULL
) STRICT;
-- From here on everything follows from the journal and may be thrown away.
CREATE TABLE concern (
  stack   TEXT NOT NULL,
  service TEXT NOT NULL,
  change  INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  PRIMARY KEY (stack, service, change, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX concern_service ON concern (service, change, seq);
CREATE TABLE views (
  stack   TEXT PRIMARY KEY,
  body    TEXT,
  retired TEXT
) STRICT;
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
