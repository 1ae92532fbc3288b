CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- The key is 256 random bits, so that one pass of SHA-256 keeps it.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    sha256 BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- The private halves stand in files.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    signs_from INTEGER NOT NULL,
    withdrawn_at INTEGER
) STRICT;

-- Agents and servers. `did` is the name that we host, `alias` the one that the owner brought.
CREATE TABLE subjects (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('agent', 'server')),
    account TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    did TEXT NOT NULL UNIQUE,
    alias TEXT UNIQUE,
    public_key BLOB,
    -- when somebody first proved to hold the key of the alias
    proven_at INTEGER,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    disabled_by TEXT CHECK (disabled_by IN ('owner', 'operator')),
    disabled_reason TEXT
) STRICT;
CREATE INDEX subjects_by_account ON subjects (account, kind, created_at);

-- What the operator lets badges say: a domain, up to a level, for an account or for one subject of it.
CREATE TABLE grants (
    holder TEXT NOT NULL,
    domain TEXT NOT NULL,
    level INTEGER NOT NULL CHECK (level BETWEEN 2 AND 4),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (holder, domain)
) STRICT;

CREATE TABLE badges (
    jti TEXT PRIMARY KEY,
    kid TEXT NOT NULL REFERENCES signing_keys (kid),
    subject TEXT NOT NULL REFERENCES subjects (id),
    sub TEXT NOT NULL,
    level INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX badges_by_kid ON badges (kid, expires_at);
CREATE INDEX badges_by_expiry ON badges (expires_at);

-- Read in pages by `seq`, which only grows, so that a page boundary loses nothing.
CREATE TABLE revocations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    jti TEXT NOT NULL UNIQUE,
    revoked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    reason TEXT
) STRICT;
CREATE INDEX revocations_by_time ON revocations (revoked_at, seq);

CREATE TABLE challenges (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES subjects (id),
    did TEXT NOT NULL,
    nonce TEXT NOT NULL,
    htu TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    ask TEXT NOT NULL
) STRICT;
CREATE INDEX challenges_by_expiry ON challenges (expires_at);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL REFERENCES accounts (id),
    id TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (account, id)
) STRICT;
