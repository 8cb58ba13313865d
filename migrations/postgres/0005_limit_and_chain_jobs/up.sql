-- Each tenant has its own queue of each kind, so that one with many jobs is not in the way of others,
-- and what is paused or limited is not in the way of the rest. Statements name the state, so that the
-- index may leave the others out.
DROP INDEX idx_processing_jobs_queue;
CREATE INDEX idx_processing_jobs_queue ON processing_jobs (tenant_id, kind, order_key, run_after)
    WHERE state = 1;

-- When the bucket of a rate limit is full again; those that are full have no row.
CREATE TABLE job_rates (
    -- bits: 1 = of one tenant, 2 = of one kind
    scope     smallint NOT NULL,
    tenant_id uuid     NOT NULL,
    kind      smallint NOT NULL,
    full_time bigint   NOT NULL,
    PRIMARY KEY (tenant_id, scope, kind)
);

-- Steps of one piece of work: the tree they are of, their names in it, and for how many others each
-- still waits (state 6), and whether it was cancelled because one of those has no success.
ALTER TABLE processing_jobs ADD COLUMN tree_id uuid;
ALTER TABLE processing_jobs ADD COLUMN step text NOT NULL DEFAULT '';
ALTER TABLE processing_jobs ADD COLUMN unmet_needs integer NOT NULL DEFAULT 0;
ALTER TABLE processing_jobs ADD COLUMN cancelled_by_need boolean NOT NULL DEFAULT FALSE;
CREATE INDEX idx_processing_jobs_tree ON processing_jobs (tenant_id, tree_id)
    WHERE tree_id IS NOT NULL;

-- job_id does not start before needed_id has succeeded
CREATE TABLE job_needs (
    tenant_id uuid NOT NULL,
    needed_id uuid NOT NULL,
    job_id    uuid NOT NULL,
    PRIMARY KEY (tenant_id, needed_id, job_id)
);
CREATE INDEX idx_job_needs_job ON job_needs (tenant_id, job_id);
