CREATE TABLE api_keys (
    -- the one key without the tenant first: who a caller is, tenant included, is found out by it
    id            BLOB   NOT NULL PRIMARY KEY,
    tenant_id     BLOB   NOT NULL,
    display_name  TEXT   NOT NULL,
    -- names between spaces: read write admin
    scopes        TEXT   NOT NULL,
    -- of the 32 random bytes of the secret, which is stored nowhere
    secret_sha256 BLOB   NOT NULL,
    create_time   BIGINT NOT NULL,
    expire_time   BIGINT,
    revoke_time   BIGINT,
    -- to the minute, so that a busy key does not write all the time
    last_use_time BIGINT
) WITHOUT ROWID;
CREATE INDEX idx_api_keys_tenant ON api_keys (tenant_id, create_time DESC, id DESC);
