//! A search filter as SQL. One builder for every query that filters, so that full text, vectors
//! and plain listing agree about what matches.

use diesel::{
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{BigInt, Binary, Float, Integer, Nullable, SmallInt, Text, Untyped},
};
use mediamesh_proto::TenantId;

use super::{
    Backend,
    dialect::{self, HOLDS_NONE},
    media::folder_range,
    types::{Id, SqlId, SqlVector, Vector, raw},
};
use crate::{full_text::Wanted, search::Filter};

/// A bound value.
#[derive(Debug, Clone)]
pub(super) enum Bind {
    Id(Id),
    Long(i64),
    Int(i32),
    Small(i16),
    Real(f32),
    Text(String),
    Bytes(Vec<u8>),
    Vector(Option<Vector>),
    MaybeId(Option<Id>),
    MaybeLong(Option<i64>),
    MaybeText(Option<String>),
}

/// SQL with a `?` for each of its bound values, in order; whatever the backend writes there.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    text: String,
    binds: Vec<Bind>,
    /// The text is one of few, so its prepared statement is worth keeping.
    keep: bool,
}

impl QueryFragment<Backend> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
        if !self.keep {
            out.unsafe_to_cache_prepared();
        }
        let mut parts = self.text.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        for (bind, part) in self.binds.iter().zip(parts) {
            match bind {
                Bind::Id(value) => out.push_bind_param::<SqlId, _>(value)?,
                Bind::Long(value) => out.push_bind_param::<BigInt, _>(value)?,
                Bind::Int(value) => out.push_bind_param::<Integer, _>(value)?,
                Bind::Small(value) => out.push_bind_param::<SmallInt, _>(value)?,
                Bind::Real(value) => out.push_bind_param::<Float, _>(value)?,
                Bind::Text(value) => out.push_bind_param::<Text, _>(value)?,
                Bind::Bytes(value) => out.push_bind_param::<Binary, _>(value)?,
                Bind::MaybeId(value) => out.push_bind_param::<Nullable<SqlId>, _>(value)?,
                Bind::MaybeLong(value) => out.push_bind_param::<Nullable<BigInt>, _>(value)?,
                Bind::MaybeText(value) => out.push_bind_param::<Nullable<Text>, _>(value)?,
                Bind::Vector(value) => {
                    out.push_bind_param::<Nullable<SqlVector>, _>(value)?;
                }
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

impl QueryId for Sql {
    type QueryId = ();
    // two of them may differ in their text
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Sql {
    type SqlType = Untyped;
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            binds: Vec::new(),
            keep: true,
        }
    }

    /// The text is one of many: its prepared statement is not kept.
    pub(super) fn once(mut self) -> Self {
        self.keep = false;
        self
    }

    pub(super) fn push(&mut self, text: &str, binds: impl IntoIterator<Item = Bind>) {
        self.text.push_str(text);
        self.binds.extend(binds);
        debug_assert_eq!(self.text.matches('?').count(), self.binds.len());
    }

    fn any_of(&mut self, column: &str, values: Vec<Bind>) {
        if !values.is_empty() {
            // a list may be of any length
            self.keep &= values.len() <= 4;
            let marks = vec!["?"; values.len()].join(", ");
            self.push(&format!(" AND m.{column} IN ({marks})"), values);
        }
    }

    /// Adds the conditions of a tenant's filter on `media_items m`, after an existing `WHERE`.
    pub(super) fn push_filter(&mut self, tenant: TenantId, filter: &Filter) {
        self.push(" AND m.tenant_id = ?", [Bind::Id(raw(tenant.0))]);
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
        self.keep &= filter.tags.len() <= 4;
        for tag in &filter.tags {
            self.push(
                " AND m.item_key IN (SELECT t.item_key FROM media_tags t \
                 WHERE t.tenant_id = ? AND t.tag = ?)",
                [Bind::Id(raw(tenant.0)), Bind::Text(tag.to_lowercase())],
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
        let without: Vec<Wanted> = filter
            .without
            .iter()
            .filter_map(|text| Wanted::phrase(text))
            .collect();
        if !without.is_empty() {
            self.push(HOLDS_NONE, [Bind::Text(dialect::any_of(&without))]);
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
