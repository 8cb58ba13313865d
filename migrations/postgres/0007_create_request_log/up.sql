-- Requests to the edge that ended: who, what, how it went and how long it took; never what was sent, asked
-- for or answered. Partitioned by month (UTC): request_log_202611 and so on are made ahead by the store,
-- and dropped or detached as a whole after `media.request_log.retention_days`.
CREATE TABLE request_log (
    -- when it ended
    create_time     bigint   NOT NULL,
    -- made by the edge, so that a batch that is sent twice is written once
    id              uuid     NOT NULL,
    -- nil = nobody who is known
    tenant_id       uuid     NOT NULL,
    -- user or key within the tenant; empty = nobody who is known
    subject         text     COLLATE "C" NOT NULL,
    method          text     COLLATE "C" NOT NULL,
    -- template of the path, e.g. /v1/mediaItems/{media_item_id}
    route           text     COLLATE "C" NOT NULL,
    status          smallint NOT NULL,
    duration_micros bigint   NOT NULL,
    request_bytes   bigint   NOT NULL,
    response_bytes  bigint   NOT NULL,
    -- 32 hexadecimal digits; empty = none
    trace_id        text     COLLATE "C" NOT NULL,
    PRIMARY KEY (create_time, id)
) PARTITION BY RANGE (create_time);
CREATE INDEX idx_request_log_tenant ON request_log (tenant_id, create_time);
