//! A search filter as SQL. One builder for every query that filters, so that full text, vectors
//! and plain listing agree about what matches.

use diesel::{
    query_builder::{BoxedSqlQuery, SqlQuery},
    sql_query,
    sql_types::{BigInt, Binary, Float, Integer, SmallInt, Text},
    sqlite::Sqlite,
};
use mediamesh_proto::TenantId;

use super::{full_text, media::folder_range, rows::bytes};
use crate::search::Filter;

/// A bound value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bind {
    Id(Vec<u8>),
    Long(i64),
    Int(i32),
    Small(i16),
    Real(f32),
    Text(String),
}

/// SQL with its bound values, in order.
#[derive(Debug, Default)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) binds: Vec<Bind>,
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            binds: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, text: &str, binds: impl IntoIterator<Item = Bind>) {
        self.text.push_str(text);
        self.binds.extend(binds);
    }

    pub(super) fn into_query<'a>(self) -> BoxedSqlQuery<'a, Sqlite, SqlQuery> {
        let mut query = sql_query(self.text).into_boxed::<Sqlite>();
        for bind in self.binds {
            query = match bind {
                Bind::Id(value) => query.bind::<Binary, _>(value),
                Bind::Long(value) => query.bind::<BigInt, _>(value),
                Bind::Int(value) => query.bind::<Integer, _>(value),
                Bind::Small(value) => query.bind::<SmallInt, _>(value),
                Bind::Real(value) => query.bind::<Float, _>(value),
                Bind::Text(value) => query.bind::<Text, _>(value),
            };
        }
        query
    }

    fn any_of(&mut self, column: &str, values: Vec<Bind>) {
        if !values.is_empty() {
            let marks = vec!["?"; values.len()].join(", ");
            self.push(&format!(" AND m.{column} IN ({marks})"), values);
        }
    }

    /// Adds the conditions of a tenant's filter on `media_items m`, after an existing `WHERE`.
    pub(super) fn push_filter(&mut self, tenant: TenantId, filter: &Filter) {
        self.push(" AND m.tenant_id = ?", [Bind::Id(bytes(tenant.0))]);
        self.any_of(
            "kind",
            filter.kinds.iter().copied().map(Bind::Small).collect(),
        );
        self.any_of(
            "orientation",
            filter
                .orientations
                .iter()
                .copied()
                .map(Bind::Small)
                .collect(),
        );
        self.any_of(
            "content_type",
            filter
                .content_types
                .iter()
                .cloned()
                .map(Bind::Text)
                .collect(),
        );
        if !filter.folder.is_empty() {
            let (from, to) = folder_range(&filter.folder);
            self.push(
                " AND (m.folder = ? OR (m.folder >= ? AND m.folder < ?))",
                [filter.folder.clone(), from, to].map(Bind::Text),
            );
        }
        for tag in &filter.tags {
            self.push(
                " AND m.item_key IN (SELECT t.item_key FROM media_tags t \
                 WHERE t.tenant_id = ? AND t.tag = ?)",
                [Bind::Id(bytes(tenant.0)), Bind::Text(tag.to_lowercase())],
            );
        }
        if let Some(time) = filter.min_time {
            self.push(" AND m.media_time >= ?", [Bind::Long(time)]);
        }
        if let Some(time) = filter.max_time {
            self.push(" AND m.media_time < ?", [Bind::Long(time)]);
        }
        if filter.min_size_bytes > 0 {
            self.push(
                " AND m.size_bytes >= ?",
                [Bind::Long(filter.min_size_bytes)],
            );
        }
        if filter.max_size_bytes > 0 {
            self.push(
                " AND m.size_bytes <= ?",
                [Bind::Long(filter.max_size_bytes)],
            );
        }
        if filter.min_width_pixels > 0 {
            self.push(
                " AND m.width_pixels >= ?",
                [Bind::Int(filter.min_width_pixels)],
            );
        }
        if filter.min_height_pixels > 0 {
            self.push(
                " AND m.height_pixels >= ?",
                [Bind::Int(filter.min_height_pixels)],
            );
        }
        if !filter.without.is_empty() {
            self.push(
                " AND m.item_key NOT IN (SELECT f.rowid FROM media_fts f WHERE media_fts MATCH ?)",
                [Bind::Text(full_text::any_of(&filter.without))],
            );
        }
        if let Some(key) = filter.newest_key {
            self.push(" AND m.item_key <= ?", [Bind::Long(i64::from(key))]);
        }
        if let Some(color) = &filter.color {
            let [l, a, b] = color.oklab;
            let near = color.max_distance * color.max_distance;
            self.push(
                " AND EXISTS (SELECT 1 FROM media_colors c WHERE c.tenant_id = m.tenant_id \
                 AND c.item_key = m.item_key AND c.share >= ? \
                 AND (c.l - ?) * (c.l - ?) + (c.a - ?) * (c.a - ?) + (c.b - ?) * (c.b - ?) <= ?)",
                [color.min_share, l, l, a, a, b, b, near].map(Bind::Real),
            );
        }
    }
}
