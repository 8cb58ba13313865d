-- Who put an item in: user or key within the tenant. NULL = stored before this was noted. A process of
-- the last version goes on beside this: it names its columns and writes none here.
ALTER TABLE media_items ADD COLUMN uploader TEXT;
-- a user's statistics are read from the index alone
CREATE INDEX idx_media_items_uploader
    ON media_items (tenant_id, uploader, create_time DESC, id DESC, size_bytes) WHERE uploader IS NOT NULL;
