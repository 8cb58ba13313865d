-- The extension stays: others may use it.
DROP TABLE api_keys;
DROP TABLE processing_jobs;
DROP TABLE media_embeddings;
DROP TABLE media_words;
DROP TABLE renditions;
DROP TABLE media_colors;
DROP TABLE media_tags;
DROP TABLE media_items;
DROP TABLE tenants;
