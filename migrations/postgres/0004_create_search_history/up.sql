-- What each user searched for: one row per wording. It is the user's own: shown to nobody else, and
-- removed by the user, by age and by number.
CREATE TABLE search_history (
    tenant_id   uuid   NOT NULL,
    -- user or key within the tenant
    subject     text   COLLATE "C" NOT NULL,
    -- trimmed, in lower case, one space between words: what counts as the same wording
    wording     text   COLLATE "C" NOT NULL,
    -- as it was last written
    query       text   NOT NULL,
    searches    bigint NOT NULL,
    -- of the last one
    search_time bigint NOT NULL,
    PRIMARY KEY (tenant_id, subject, wording)
) WITH (fillfactor = 80);
CREATE INDEX idx_search_history_user_created
    ON search_history (tenant_id, subject, search_time DESC, wording DESC);
-- the one index without the tenant first: what is too old is removed for all of them
CREATE INDEX idx_search_history_time ON search_history (search_time);
