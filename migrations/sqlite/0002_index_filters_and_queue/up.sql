-- Every column that a search filters by, in one index: a filter reads 90 bytes of an item rather
-- than its row (54 -> 10 ms for 100,000 items), and reading rows by item_key no longer walks all
-- items of the tenant, which the planner took for few.
CREATE INDEX idx_media_items_filter ON media_items (
    tenant_id, item_key, kind, orientation, content_type, media_time, size_bytes,
    width_pixels, height_pixels, folder
);

-- Not partial: the planner does not know that a bound state is one of those, so it walked all jobs
-- there ever were to claim one, and all that wait to find a twin.
DROP INDEX idx_processing_jobs_queue;
CREATE INDEX idx_processing_jobs_queue ON processing_jobs (state, order_key, run_after);
CREATE INDEX idx_processing_jobs_twin ON processing_jobs (tenant_id, unique_key, state)
    WHERE unique_key IS NOT NULL;
