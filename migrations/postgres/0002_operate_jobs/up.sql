-- A job with this key is not queued again before period_end, unless it ended in a way that the one
-- who queues does not count.
ALTER TABLE processing_jobs ADD COLUMN period_key text COLLATE "C";
ALTER TABLE processing_jobs ADD COLUMN period_end bigint;
-- steps done, of steps in all; 0 of 0 while nobody knows
ALTER TABLE processing_jobs ADD COLUMN progress_current bigint NOT NULL DEFAULT 0;
ALTER TABLE processing_jobs ADD COLUMN progress_total bigint NOT NULL DEFAULT 0;
CREATE INDEX idx_processing_jobs_period ON processing_jobs (tenant_id, period_key, period_end)
    WHERE period_key IS NOT NULL;
-- how many ended in the last minutes
CREATE INDEX idx_processing_jobs_tenant_ended ON processing_jobs (tenant_id, end_time)
    WHERE end_time IS NOT NULL;
-- counts by state and kind are read from the index alone
DROP INDEX idx_processing_jobs_tenant_state;
CREATE INDEX idx_processing_jobs_tenant_state ON processing_jobs (tenant_id, state, kind);

-- what is not claimed for now
CREATE TABLE job_pauses (
    tenant_id   uuid     NOT NULL,
    -- 0 = every kind
    kind        smallint NOT NULL,
    -- NULL = until it is resumed
    until_time  bigint,
    create_time bigint   NOT NULL,
    PRIMARY KEY (tenant_id, kind)
);
