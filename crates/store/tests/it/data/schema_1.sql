-- A store as version 1 of the schema wrote it. Never changes.
CREATE TABLE node (
    sort_key BLOB NOT NULL PRIMARY KEY,
    domain   TEXT NOT NULL,
    document TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE serial (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    serial INTEGER NOT NULL CHECK (serial > 0),
    probe  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE zone (
    apex   TEXT NOT NULL PRIMARY KEY,
    digest INTEGER NOT NULL,
    role   TEXT NOT NULL,
    serial INTEGER NOT NULL CHECK (serial > 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    serial  INTEGER NOT NULL,
    subject TEXT NOT NULL,
    kind    TEXT NOT NULL,
    time    INTEGER NOT NULL,
    token   TEXT,
    before  TEXT,
    after   TEXT,
    PRIMARY KEY (serial, subject)
) STRICT, WITHOUT ROWID;
CREATE TABLE token (
    id      TEXT NOT NULL PRIMARY KEY,
    hash    BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    admin   INTEGER NOT NULL CHECK (admin IN (0, 1)),
    label   TEXT,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE token_name (
    token    TEXT NOT NULL REFERENCES token (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    domain   TEXT NOT NULL,
    PRIMARY KEY (token, position)
) STRICT, WITHOUT ROWID;

INSERT INTO node VALUES (x'6d65006f7374656c0061', 'a.ostel.me', '{"version":1,"targets":[{"host":"sip.a.ostel.me","port":5061,"priority":10,"weight":0,"addresses":["192.0.2.1"]}],"ttl":60}', 8, 1600000000, 1600000050);
INSERT INTO serial (one, serial) VALUES (1, 8);
INSERT INTO journal VALUES (8, 'a.ostel.me', 'register', 1600000050, 'tester', NULL, '{"version":1,"targets":[{"host":"sip.a.ostel.me","port":5061,"priority":10,"weight":0,"addresses":["192.0.2.1"]}],"ttl":60}');
INSERT INTO token VALUES ('AAAAAAAAAAAA', zeroblob(32), 0, 'node', 1600000000, NULL);
INSERT INTO token_name VALUES ('AAAAAAAAAAAA', 0, 'a.ostel.me');
PRAGMA application_id = 1414415437;
PRAGMA user_version = 1;
