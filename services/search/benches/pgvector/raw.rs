//! What somebody would write who has the tables and no mediamesh: one prepared statement, which leaves
//! the filter to pgvector.

use std::fmt::Write as _;

use tokio_postgres::{Client, NoTls, Statement};

use super::{
    K,
    data::Set,
    load::{MODEL, TENANT},
};

/// Those of the store's connections (`libs/store/src/postgres/vector_index.rs`).
const SETTINGS: &str = "SET hnsw.ef_search = 200; SET hnsw.iterative_scan = strict_order; \
     SET ivfflat.probes = 20; SET ivfflat.iterative_scan = relaxed_order;";

pub(crate) struct Raw {
    client: Client,
    all: Statement,
    filtered: Statement,
}

impl Raw {
    pub(crate) async fn connect(url: &str, set: &Set) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(SETTINGS).await.unwrap();
        let (dims, tenant) = (set.dims, TENANT.0);
        let space = format!("e.tenant_id = '{tenant}' AND e.model = '{MODEL}'");
        let near = format!("e.vector::halfvec({dims}) <=> $1::text::halfvec({dims})");
        let all = format!(
            "SELECT e.item_key FROM media_embeddings e WHERE {space} AND e.vector IS NOT NULL \
             ORDER BY {near} LIMIT {K}"
        );
        let filtered = format!(
            "SELECT e.item_key FROM media_embeddings e JOIN media_items m \
             ON m.tenant_id = e.tenant_id AND m.item_key = e.item_key \
             WHERE {space} AND e.vector IS NOT NULL AND m.size_bytes >= $2 \
             ORDER BY {near} LIMIT {K}"
        );
        Self {
            all: client.prepare(&all).await.unwrap(),
            filtered: client.prepare(&filtered).await.unwrap(),
            client,
        }
    }

    /// Keys of the nearest; the vector is written out within what is timed, as it is in the store.
    pub(crate) async fn nearest(&self, query: &[f32], percent: u32, least: i64) -> Vec<u32> {
        let mut text = String::from("[");
        for (n, value) in query.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{value}");
        }
        text.push(']');
        let rows = match percent {
            100 => self.client.query(&self.all, &[&text]).await,
            _ => self.client.query(&self.filtered, &[&text, &least]).await,
        };
        let key = |row: &tokio_postgres::Row| u32::try_from(row.get::<_, i64>(0)).unwrap();
        rows.unwrap().iter().map(key).collect()
    }
}
