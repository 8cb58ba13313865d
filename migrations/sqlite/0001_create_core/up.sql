-- Times are microseconds since the Unix epoch, UTC. Ids are the 16 bytes of a UUID version 7.
-- tenant_id comes first in every key and index.

CREATE TABLE tenants (
    id             BLOB    NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL,
    -- grows with every change that a search of the tenant could see
    corpus_version BIGINT  NOT NULL DEFAULT 0,
    create_time    BIGINT  NOT NULL
);

CREATE TABLE media_items (
    -- dense key: rowid of the full text and key of the vector indexes; never re-used
    item_key        INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    tenant_id       BLOB     NOT NULL,
    id              BLOB     NOT NULL,
    kind            SMALLINT NOT NULL,
    state           SMALLINT NOT NULL,
    failure_reason  TEXT     NOT NULL DEFAULT '',
    failure_detail  TEXT     NOT NULL DEFAULT '',
    display_name    TEXT     NOT NULL,
    folder          TEXT     NOT NULL,
    tags            TEXT     NOT NULL DEFAULT '[]',
    caption         TEXT     NOT NULL DEFAULT '',
    content_type    TEXT     NOT NULL,
    size_bytes      BIGINT   NOT NULL,
    sha256          BLOB     NOT NULL,
    width_pixels    INTEGER  NOT NULL DEFAULT 0,
    height_pixels   INTEGER  NOT NULL DEFAULT 0,
    orientation     SMALLINT NOT NULL DEFAULT 0,
    capture_time    BIGINT,
    -- capture_time, else create_time: what people mean by the date of a picture
    media_time      BIGINT   NOT NULL,
    create_time     BIGINT   NOT NULL,
    update_time     BIGINT   NOT NULL,
    colors          TEXT     NOT NULL DEFAULT '[]',
    thumb_hash      BLOB,
    blur_hash       TEXT     NOT NULL DEFAULT '',
    perceptual_hash BIGINT,
    exif            TEXT,
    -- further words for the full text: camera, lens, colour names, year and month
    search_text     TEXT     NOT NULL DEFAULT '',
    blob_key        TEXT     NOT NULL,
    -- etag: grows with every change
    version         BIGINT   NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_media_items_id ON media_items (tenant_id, id);
CREATE UNIQUE INDEX idx_media_items_sha256 ON media_items (tenant_id, sha256);
CREATE INDEX idx_media_items_created ON media_items (tenant_id, create_time DESC, id DESC);
CREATE INDEX idx_media_items_folder ON media_items (tenant_id, folder, create_time DESC, id DESC);
CREATE INDEX idx_media_items_media_time ON media_items (tenant_id, media_time);
CREATE INDEX idx_media_items_unfinished ON media_items (tenant_id, state) WHERE state <> 3;

CREATE TABLE media_tags (
    tenant_id BLOB    NOT NULL,
    tag       TEXT    NOT NULL,
    item_key  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, tag, item_key)
) WITHOUT ROWID;
CREATE INDEX idx_media_tags_item ON media_tags (item_key);

-- dominant colours in OKLab, so that "near this colour" is a distance
CREATE TABLE media_colors (
    tenant_id BLOB    NOT NULL,
    item_key  INTEGER NOT NULL,
    position  SMALLINT NOT NULL,
    l         FLOAT   NOT NULL,
    a         FLOAT   NOT NULL,
    b         FLOAT   NOT NULL,
    share     FLOAT   NOT NULL,
    PRIMARY KEY (tenant_id, item_key, position)
) WITHOUT ROWID;

CREATE TABLE renditions (
    tenant_id     BLOB    NOT NULL,
    media_item_id BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    content_type  TEXT    NOT NULL,
    width_pixels  INTEGER NOT NULL,
    height_pixels INTEGER NOT NULL,
    size_bytes    BIGINT  NOT NULL,
    sha256        BLOB    NOT NULL,
    blob_key      TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, media_item_id, name)
) WITHOUT ROWID;

-- The truth of every vector index, and its change log: a vector that changes gets a new seq, a
-- removed one a row without a vector.
CREATE TABLE media_embeddings (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    tenant_id   BLOB    NOT NULL,
    model       TEXT    NOT NULL,
    item_key    INTEGER NOT NULL,
    -- f16, little endian, L2-normalised; NULL = removed
    vector      BLOB,
    create_time BIGINT  NOT NULL
);
CREATE UNIQUE INDEX idx_media_embeddings_item ON media_embeddings (tenant_id, model, item_key);
CREATE INDEX idx_media_embeddings_item_key ON media_embeddings (item_key);
CREATE INDEX idx_media_embeddings_seq ON media_embeddings (tenant_id, model, seq);

CREATE TABLE processing_jobs (
    id               BLOB     NOT NULL PRIMARY KEY,
    tenant_id        BLOB     NOT NULL,
    kind             SMALLINT NOT NULL,
    state            SMALLINT NOT NULL,
    priority         SMALLINT NOT NULL,
    -- create_time plus a penalty per priority step: low priority ages into its turn
    order_key        BIGINT   NOT NULL,
    run_after        BIGINT   NOT NULL,
    attempts         INTEGER  NOT NULL DEFAULT 0,
    max_attempts     INTEGER  NOT NULL,
    -- while a job with this key waits, another is not queued
    unique_key       TEXT,
    payload          TEXT     NOT NULL DEFAULT '{}',
    media_item_id    BLOB,
    progress         FLOAT    NOT NULL DEFAULT 0,
    progress_message TEXT     NOT NULL DEFAULT '',
    last_error       TEXT     NOT NULL DEFAULT '',
    -- fencing token: grows with every claim
    lease_token      BIGINT   NOT NULL DEFAULT 0,
    lease_expire     BIGINT   NOT NULL DEFAULT 0,
    worker           TEXT     NOT NULL DEFAULT '',
    traceparent      TEXT     NOT NULL DEFAULT '',
    create_time      BIGINT   NOT NULL,
    start_time       BIGINT,
    end_time         BIGINT
);
CREATE INDEX idx_processing_jobs_queue ON processing_jobs (state, order_key) WHERE state IN (1, 2);
CREATE INDEX idx_processing_jobs_tenant ON processing_jobs (tenant_id, create_time DESC, id DESC);
CREATE INDEX idx_processing_jobs_item ON processing_jobs (tenant_id, media_item_id);
CREATE INDEX idx_processing_jobs_tenant_state ON processing_jobs (tenant_id, state);
CREATE UNIQUE INDEX idx_processing_jobs_unique ON processing_jobs (tenant_id, unique_key)
    WHERE unique_key IS NOT NULL AND state = 1;

-- Full text over the item itself: never behind the truth, because triggers keep it.
CREATE VIRTUAL TABLE media_fts USING fts5 (
    display_name, folder, tags, caption, search_text,
    content = 'media_items', content_rowid = 'item_key',
    tokenize = 'porter unicode61 remove_diacritics 2',
    prefix = '2 3'
);
CREATE TRIGGER media_items_fts_insert AFTER INSERT ON media_items BEGIN
    INSERT INTO media_fts (rowid, display_name, folder, tags, caption, search_text)
    VALUES (new.item_key, new.display_name, new.folder, new.tags, new.caption, new.search_text);
END;
CREATE TRIGGER media_items_fts_delete AFTER DELETE ON media_items BEGIN
    INSERT INTO media_fts (media_fts, rowid, display_name, folder, tags, caption, search_text)
    VALUES ('delete', old.item_key, old.display_name, old.folder, old.tags, old.caption, old.search_text);
END;
CREATE TRIGGER media_items_fts_update
AFTER UPDATE OF display_name, folder, tags, caption, search_text ON media_items BEGIN
    INSERT INTO media_fts (media_fts, rowid, display_name, folder, tags, caption, search_text)
    VALUES ('delete', old.item_key, old.display_name, old.folder, old.tags, old.caption, old.search_text);
    INSERT INTO media_fts (rowid, display_name, folder, tags, caption, search_text)
    VALUES (new.item_key, new.display_name, new.folder, new.tags, new.caption, new.search_text);
END;
