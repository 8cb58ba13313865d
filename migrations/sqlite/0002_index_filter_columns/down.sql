DROP INDEX idx_media_items_filter;
