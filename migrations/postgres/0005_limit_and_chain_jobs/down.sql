DROP TABLE job_needs;
DROP INDEX idx_processing_jobs_tree;
ALTER TABLE processing_jobs DROP COLUMN cancelled_by_need;
ALTER TABLE processing_jobs DROP COLUMN unmet_needs;
ALTER TABLE processing_jobs DROP COLUMN step;
ALTER TABLE processing_jobs DROP COLUMN tree_id;
DROP TABLE job_rates;
DROP INDEX idx_processing_jobs_queue;
CREATE INDEX idx_processing_jobs_queue ON processing_jobs (order_key, run_after)
    WHERE state = 1;
