-- How many jobs that are kept have ended, by kind and state: counted as they end, because counting all
-- of them for every look at the queue takes longer with every day. Each connection counts in rows of its
-- own (slot = its process on the server), so that no two transactions wait for each other; who reads adds
-- them up, and the sweep puts them together in slot 0.
CREATE TABLE job_totals (
    tenant_id uuid     NOT NULL,
    kind      smallint NOT NULL,
    state     smallint NOT NULL,
    slot      integer  NOT NULL,
    -- may be negative in one slot
    jobs      bigint   NOT NULL,
    PRIMARY KEY (tenant_id, kind, state, slot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

CREATE FUNCTION count_ended_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO job_totals AS t (tenant_id, kind, state, slot, jobs)
        SELECT c.tenant_id, c.kind, c.state, pg_backend_pid(), sum(c.change)
        FROM (
            SELECT tenant_id, kind, state, 1 AS change FROM rows_after WHERE state IN (3, 4, 5)
            UNION ALL
            SELECT tenant_id, kind, state, -1 FROM rows_before WHERE state IN (3, 4, 5)
        ) c
        GROUP BY c.tenant_id, c.kind, c.state HAVING sum(c.change) <> 0
        ON CONFLICT (tenant_id, kind, state, slot) DO UPDATE SET jobs = t.jobs + excluded.jobs;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO job_totals AS t (tenant_id, kind, state, slot, jobs)
        SELECT tenant_id, kind, state, pg_backend_pid(), -count(*)
        FROM rows_before WHERE state IN (3, 4, 5) GROUP BY tenant_id, kind, state
        ON CONFLICT (tenant_id, kind, state, slot) DO UPDATE SET jobs = t.jobs + excluded.jobs;
    ELSE
        INSERT INTO job_totals AS t (tenant_id, kind, state, slot, jobs)
        SELECT tenant_id, kind, state, pg_backend_pid(), count(*)
        FROM rows_after WHERE state IN (3, 4, 5) GROUP BY tenant_id, kind, state
        ON CONFLICT (tenant_id, kind, state, slot) DO UPDATE SET jobs = t.jobs + excluded.jobs;
    END IF;
    RETURN NULL;
END
$$;

-- nobody writes jobs from here to the end of this migration
CREATE TRIGGER count_jobs_inserted AFTER INSERT ON processing_jobs
    REFERENCING NEW TABLE AS rows_after FOR EACH STATEMENT EXECUTE FUNCTION count_ended_jobs();
CREATE TRIGGER count_jobs_updated AFTER UPDATE ON processing_jobs
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION count_ended_jobs();
CREATE TRIGGER count_jobs_deleted AFTER DELETE ON processing_jobs
    REFERENCING OLD TABLE AS rows_before FOR EACH STATEMENT EXECUTE FUNCTION count_ended_jobs();

INSERT INTO job_totals (tenant_id, kind, state, slot, jobs)
SELECT tenant_id, kind, state, 0, count(*)
FROM processing_jobs WHERE state IN (3, 4, 5) GROUP BY tenant_id, kind, state;

-- what waits for others is few among all that there ever was
CREATE INDEX idx_processing_jobs_blocked ON processing_jobs (tenant_id, kind) WHERE state = 6;
