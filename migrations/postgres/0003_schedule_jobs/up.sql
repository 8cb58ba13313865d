-- The schedule whose tick queued a job, and when that tick was due. The same tick is queued once,
-- however many processes look at the clock.
ALTER TABLE processing_jobs ADD COLUMN schedule text COLLATE "C";
ALTER TABLE processing_jobs ADD COLUMN schedule_time bigint;
CREATE UNIQUE INDEX idx_processing_jobs_tick ON processing_jobs (tenant_id, schedule, schedule_time)
    WHERE schedule IS NOT NULL;

-- what is queued again and again
CREATE TABLE job_schedules (
    tenant_id    uuid     NOT NULL,
    name         text     COLLATE "C" NOT NULL,
    kind         smallint NOT NULL,
    cron         text     NOT NULL,
    time_zone    text     NOT NULL,
    -- 1 skip, 2 once, 3 all
    catch_up     smallint NOT NULL,
    max_catch_up integer  NOT NULL,
    enabled      boolean  NOT NULL,
    -- ticks up to here are dealt with
    last_tick    bigint   NOT NULL,
    last_job_id  uuid,
    create_time  bigint   NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
