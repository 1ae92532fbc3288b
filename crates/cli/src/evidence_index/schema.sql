-- Derived from the logs; may be deleted at any time. The secondary indexes end with the primary key.
CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL,
    -- entries below it are indexed
    next INTEGER NOT NULL DEFAULT 0,
    -- entries below it have been pruned
    pruned INTEGER NOT NULL DEFAULT 0,
    -- the last entry whose bytes were there, by which the index is recognized as that of this log
    seen INTEGER,
    leaf BLOB
) STRICT;
CREATE TABLE entries (
    log INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    -- NULL: redacted
    leaf BLOB,
    at INTEGER,
    id TEXT,
    kind TEXT,
    decision TEXT,
    tool TEXT,
    agent TEXT,
    reason TEXT,
    count INTEGER,
    PRIMARY KEY (log, idx)
) STRICT, WITHOUT ROWID;
-- Redactions and prunings that a record of the log announces and that are not yet seen in it.
CREATE TABLE deeds (
    log INTEGER NOT NULL,
    kind TEXT NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (log, kind, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX by_time ON entries (log, at);
CREATE INDEX by_id ON entries (id, log, idx) WHERE id IS NOT NULL;
CREATE INDEX by_tool ON entries (tool, log, idx) WHERE tool IS NOT NULL;
CREATE INDEX by_agent ON entries (agent, log, idx) WHERE agent IS NOT NULL;
CREATE INDEX by_reason ON entries (reason, log, idx) WHERE reason IS NOT NULL;
