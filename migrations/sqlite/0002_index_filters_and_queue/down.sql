DROP INDEX idx_processing_jobs_twin;
DROP INDEX idx_processing_jobs_queue;
CREATE INDEX idx_processing_jobs_queue ON processing_jobs (state, order_key) WHERE state IN (1, 2);
DROP INDEX idx_media_items_filter;
