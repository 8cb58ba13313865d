-- Requests to the edge that ended: who, what, how it went and how long it took; never what was sent, asked
-- for or answered. Kept for `media.request_log.retention_days`.
CREATE TABLE request_log (
    -- when it ended
    create_time     BIGINT   NOT NULL,
    -- made by the edge, so that a batch that is sent twice is written once
    id              BLOB     NOT NULL,
    -- nil = nobody who is known
    tenant_id       BLOB     NOT NULL,
    -- user or key within the tenant; empty = nobody who is known
    subject         TEXT     NOT NULL,
    method          TEXT     NOT NULL,
    -- template of the path, e.g. /v1/mediaItems/{media_item_id}
    route           TEXT     NOT NULL,
    status          SMALLINT NOT NULL,
    duration_micros BIGINT   NOT NULL,
    request_bytes   BIGINT   NOT NULL,
    response_bytes  BIGINT   NOT NULL,
    -- 32 hexadecimal digits; empty = none
    trace_id        TEXT     NOT NULL,
    PRIMARY KEY (create_time, id)
) WITHOUT ROWID;
CREATE INDEX idx_request_log_tenant ON request_log (tenant_id, create_time);
