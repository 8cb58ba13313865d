-- How many jobs that are kept have ended, by kind and state: counted as they end, because counting all
-- of them for every look at the queue takes longer with every day.
CREATE TABLE job_totals (
    tenant_id BLOB     NOT NULL,
    kind      SMALLINT NOT NULL,
    state     SMALLINT NOT NULL,
    jobs      BIGINT   NOT NULL,
    PRIMARY KEY (tenant_id, kind, state)
) WITHOUT ROWID;

CREATE TRIGGER count_jobs_inserted AFTER INSERT ON processing_jobs WHEN NEW.state IN (3, 4, 5) BEGIN
    INSERT INTO job_totals (tenant_id, kind, state, jobs)
    VALUES (NEW.tenant_id, NEW.kind, NEW.state, 1)
    ON CONFLICT (tenant_id, kind, state) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER count_jobs_ended AFTER UPDATE OF state ON processing_jobs
WHEN NEW.state <> OLD.state AND NEW.state IN (3, 4, 5) BEGIN
    INSERT INTO job_totals (tenant_id, kind, state, jobs)
    VALUES (NEW.tenant_id, NEW.kind, NEW.state, 1)
    ON CONFLICT (tenant_id, kind, state) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER count_jobs_again AFTER UPDATE OF state ON processing_jobs
WHEN NEW.state <> OLD.state AND OLD.state IN (3, 4, 5) BEGIN
    UPDATE job_totals SET jobs = jobs - 1
    WHERE tenant_id = OLD.tenant_id AND kind = OLD.kind AND state = OLD.state;
END;
CREATE TRIGGER count_jobs_deleted AFTER DELETE ON processing_jobs WHEN OLD.state IN (3, 4, 5) BEGIN
    UPDATE job_totals SET jobs = jobs - 1
    WHERE tenant_id = OLD.tenant_id AND kind = OLD.kind AND state = OLD.state;
END;

INSERT INTO job_totals (tenant_id, kind, state, jobs)
SELECT tenant_id, kind, state, count(*)
FROM processing_jobs WHERE state IN (3, 4, 5) GROUP BY tenant_id, kind, state;

-- what ended in the last minutes, of all tenants; and what waits for others
CREATE INDEX idx_processing_jobs_ended ON processing_jobs (end_time) WHERE end_time IS NOT NULL;
CREATE INDEX idx_processing_jobs_blocked ON processing_jobs (tenant_id, kind) WHERE state = 6;
