-- How far the rows of removed vectors are gone from a change log. An index that has read less must be made
-- anew: it would never hear of them.
CREATE TABLE swept_vectors (
    tenant_id uuid   NOT NULL,
    model     text   COLLATE "C" NOT NULL,
    -- newest row that is gone
    swept     bigint NOT NULL,
    -- newest row that was looked at: what is older and stays is of an item that is there
    looked    bigint NOT NULL,
    PRIMARY KEY (tenant_id, model)
);
