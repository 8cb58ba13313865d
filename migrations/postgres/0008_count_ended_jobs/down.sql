DROP INDEX idx_processing_jobs_blocked;
DROP TRIGGER count_jobs_deleted ON processing_jobs;
DROP TRIGGER count_jobs_updated ON processing_jobs;
DROP TRIGGER count_jobs_inserted ON processing_jobs;
DROP FUNCTION count_ended_jobs();
DROP TABLE job_totals;
