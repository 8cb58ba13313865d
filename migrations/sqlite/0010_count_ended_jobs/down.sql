DROP INDEX idx_processing_jobs_blocked;
DROP INDEX idx_processing_jobs_ended;
DROP TRIGGER count_jobs_deleted;
DROP TRIGGER count_jobs_again;
DROP TRIGGER count_jobs_ended;
DROP TRIGGER count_jobs_inserted;
DROP TABLE job_totals;
