-- Which instance leads, where there is no Redis to keep it. The row stays when its time is over: it holds the last term.
CREATE TABLE leaderships (
    name text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C" NOT NULL,
    term bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Which ledger this is, so that what is kept elsewhere (the buffer in Redis) is never taken for another one's.
ALTER TABLE ledger_head ADD COLUMN ledger_id text COLLATE "C" NOT NULL
    DEFAULT md5(random()::text || clock_timestamp()::text);
