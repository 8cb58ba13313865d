-- The schedule whose tick queued a job, and when that tick was due. The same tick is queued once,
-- however many processes look at the clock.
ALTER TABLE processing_jobs ADD COLUMN schedule TEXT;
ALTER TABLE processing_jobs ADD COLUMN schedule_time BIGINT;
CREATE UNIQUE INDEX idx_processing_jobs_tick ON processing_jobs (tenant_id, schedule, schedule_time)
    WHERE schedule IS NOT NULL;

-- what is queued again and again
CREATE TABLE job_schedules (
    tenant_id    BLOB     NOT NULL,
    name         TEXT     NOT NULL,
    kind         SMALLINT NOT NULL,
    cron         TEXT     NOT NULL,
    time_zone    TEXT     NOT NULL,
    -- 1 skip, 2 once, 3 all
    catch_up     SMALLINT NOT NULL,
    max_catch_up INTEGER  NOT NULL,
    enabled      BOOLEAN  NOT NULL,
    -- ticks up to here are dealt with
    last_tick    BIGINT   NOT NULL,
    last_job_id  BLOB,
    create_time  BIGINT   NOT NULL,
    PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;
