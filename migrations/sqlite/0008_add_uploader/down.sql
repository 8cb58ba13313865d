DROP INDEX idx_media_items_uploader;
ALTER TABLE media_items DROP COLUMN uploader;
