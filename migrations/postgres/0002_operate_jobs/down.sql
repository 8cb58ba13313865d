DROP TABLE job_pauses;
DROP INDEX idx_processing_jobs_tenant_state;
CREATE INDEX idx_processing_jobs_tenant_state ON processing_jobs (tenant_id, state);
DROP INDEX idx_processing_jobs_tenant_ended;
DROP INDEX idx_processing_jobs_period;
ALTER TABLE processing_jobs DROP COLUMN progress_total;
ALTER TABLE processing_jobs DROP COLUMN progress_current;
ALTER TABLE processing_jobs DROP COLUMN period_end;
ALTER TABLE processing_jobs DROP COLUMN period_key;
