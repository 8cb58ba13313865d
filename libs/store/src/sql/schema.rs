//! Tables as diesel sees them; `migrations/` is the truth.

use super::types::{SqlId, SqlVector};

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    tenants (id) {
        id -> SqlId,
        name -> Text,
        corpus_version -> BigInt,
        create_time -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    media_items (item_key) {
        item_key -> BigInt,
        tenant_id -> SqlId,
        id -> SqlId,
        kind -> SmallInt,
        state -> SmallInt,
        failure_reason -> Text,
        failure_detail -> Text,
        display_name -> Text,
        folder -> Text,
        tags -> Text,
        caption -> Text,
        content_type -> Text,
        size_bytes -> BigInt,
        sha256 -> Binary,
        width_pixels -> Integer,
        height_pixels -> Integer,
        orientation -> SmallInt,
        capture_time -> Nullable<BigInt>,
        media_time -> BigInt,
        create_time -> BigInt,
        update_time -> BigInt,
        colors -> Text,
        thumb_hash -> Nullable<Binary>,
        blur_hash -> Text,
        perceptual_hash -> Nullable<BigInt>,
        exif -> Nullable<Text>,
        search_text -> Text,
        blob_key -> Text,
        version -> BigInt,
        uploader -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    media_tags (tenant_id, tag, item_key) {
        tenant_id -> SqlId,
        tag -> Text,
        item_key -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    media_colors (tenant_id, item_key, position) {
        tenant_id -> SqlId,
        item_key -> BigInt,
        position -> SmallInt,
        l -> Float,
        a -> Float,
        b -> Float,
        share -> Float,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    renditions (tenant_id, media_item_id, name) {
        tenant_id -> SqlId,
        media_item_id -> SqlId,
        name -> Text,
        content_type -> Text,
        width_pixels -> Integer,
        height_pixels -> Integer,
        size_bytes -> BigInt,
        sha256 -> Binary,
        blob_key -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    media_embeddings (seq) {
        seq -> BigInt,
        tenant_id -> SqlId,
        model -> Text,
        item_key -> BigInt,
        vector -> Nullable<SqlVector>,
        create_time -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::SqlId;

    swept_vectors (tenant_id, model) {
        tenant_id -> SqlId,
        model -> Text,
        swept -> BigInt,
        looked -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    processing_jobs (id) {
        id -> SqlId,
        tenant_id -> SqlId,
        kind -> SmallInt,
        state -> SmallInt,
        priority -> SmallInt,
        order_key -> BigInt,
        run_after -> BigInt,
        attempts -> Integer,
        max_attempts -> Integer,
        unique_key -> Nullable<Text>,
        payload -> Text,
        media_item_id -> Nullable<SqlId>,
        progress -> Float,
        progress_message -> Text,
        last_error -> Text,
        lease_token -> BigInt,
        lease_expire -> BigInt,
        worker -> Text,
        traceparent -> Text,
        create_time -> BigInt,
        start_time -> Nullable<BigInt>,
        end_time -> Nullable<BigInt>,
        period_key -> Nullable<Text>,
        period_end -> Nullable<BigInt>,
        progress_current -> BigInt,
        progress_total -> BigInt,
        schedule -> Nullable<Text>,
        schedule_time -> Nullable<BigInt>,
        tree_id -> Nullable<SqlId>,
        step -> Text,
        unmet_needs -> Integer,
        cancelled_by_need -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    job_pauses (tenant_id, kind) {
        tenant_id -> SqlId,
        kind -> SmallInt,
        until_time -> Nullable<BigInt>,
        create_time -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    job_needs (tenant_id, needed_id, job_id) {
        tenant_id -> SqlId,
        needed_id -> SqlId,
        job_id -> SqlId,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    job_schedules (tenant_id, name) {
        tenant_id -> SqlId,
        name -> Text,
        kind -> SmallInt,
        cron -> Text,
        time_zone -> Text,
        catch_up -> SmallInt,
        max_catch_up -> Integer,
        enabled -> Bool,
        last_tick -> BigInt,
        last_job_id -> Nullable<SqlId>,
        create_time -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    api_keys (id) {
        id -> SqlId,
        tenant_id -> SqlId,
        display_name -> Text,
        scopes -> Text,
        secret_sha256 -> Binary,
        create_time -> BigInt,
        expire_time -> Nullable<BigInt>,
        revoke_time -> Nullable<BigInt>,
        last_use_time -> Nullable<BigInt>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::{SqlId, SqlVector};

    search_history (tenant_id, subject, wording) {
        tenant_id -> SqlId,
        subject -> Text,
        wording -> Text,
        query -> Text,
        searches -> BigInt,
        search_time -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::SqlId;

    request_log (create_time, id) {
        create_time -> BigInt,
        id -> SqlId,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    tenants,
    media_items,
    media_tags,
    media_colors,
    renditions,
    media_embeddings,
    swept_vectors,
    processing_jobs,
    job_pauses,
    job_needs,
    job_schedules,
    api_keys,
);
