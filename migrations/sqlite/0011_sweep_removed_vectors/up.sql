-- How far the rows of removed vectors are gone from a change log. An index that has read less must be made
-- anew: it would never hear of them.
CREATE TABLE swept_vectors (
    tenant_id BLOB   NOT NULL,
    model     TEXT   NOT NULL,
    -- newest row that is gone
    swept     BIGINT NOT NULL,
    -- newest row that was looked at: what is older and stays is of an item that is there
    looked    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, model)
) WITHOUT ROWID;
