//! What somebody would write who has the tables and no mediamesh: one prepared statement, which leaves
//! the filter to pgvector. It answers keys alone, or what a search answers: the rows of the items, from the
//! nearest on.

use bytes::{BufMut as _, BytesMut};
use half::f16;
use tokio_postgres::{
    Client, NoTls, Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    K,
    data::Set,
    load::{MODEL, TENANT},
};

/// Those of the store's connections (`libs/store/src/postgres/vector_index.rs`).
const SETTINGS: &str = "SET hnsw.ef_search = 200; SET hnsw.iterative_scan = strict_order; \
     SET ivfflat.probes = 20; SET ivfflat.iterative_scan = relaxed_order;";

/// What a raw statement answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Keys,
    Rows,
}

pub(crate) struct Raw {
    client: Client,
    keys: [Statement; 2],
    rows: [Statement; 2],
}

impl Raw {
    pub(crate) async fn connect(url: &str, set: &Set) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(SETTINGS).await.unwrap();
        let (dims, tenant) = (set.dims, TENANT.0);
        let space = format!("e.tenant_id = '{tenant}' AND e.model = '{MODEL}'");
        let near = format!("e.vector::halfvec({dims}) <=> $1::halfvec({dims})");
        let nearest = |what: &str, filter: &str| {
            format!(
                "SELECT {what} FROM media_embeddings e {filter} \
                 WHERE {space} AND e.vector IS NOT NULL ORDER BY {near} LIMIT {K}"
            )
        };
        let filter = "JOIN media_items f ON f.tenant_id = e.tenant_id \
                      AND f.item_key = e.item_key AND f.size_bytes >= $2";
        let keys = |filter| nearest("e.item_key", filter);
        let rows = |filter| {
            let found = nearest(&format!("e.item_key, {near} AS distance"), filter);
            format!(
                "SELECT m.* FROM ({found}) n JOIN media_items m \
                 ON m.tenant_id = '{tenant}' AND m.item_key = n.item_key ORDER BY n.distance"
            )
        };
        let prepare = async |statement: String| client.prepare(&statement).await.unwrap();
        Self {
            keys: [prepare(keys("")).await, prepare(keys(filter)).await],
            rows: [prepare(rows("")).await, prepare(rows(filter)).await],
            client,
        }
    }

    /// Keys of the nearest; the vector is made one of halves within what is timed, as it is in the store.
    pub(crate) async fn nearest(
        &self,
        answer: Answer,
        query: &[f32],
        percent: u32,
        least: i64,
    ) -> Vec<u32> {
        let query = Halves(query);
        let [all, filtered] = match answer {
            Answer::Keys => &self.keys,
            Answer::Rows => &self.rows,
        };
        let rows = match percent {
            100 => self.client.query(all, &[&query]).await,
            _ => self.client.query(filtered, &[&query, &least]).await,
        };
        let key = |row: &tokio_postgres::Row| u32::try_from(row.get::<_, i64>("item_key")).unwrap();
        rows.unwrap().iter().map(key).collect()
    }
}

/// Bound as pgvector's own type: as text it would be read anew for each row that is compared.
#[derive(Debug)]
struct Halves<'a>(&'a [f32]);

impl ToSql for Halves<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_u16(u16::try_from(self.0.len())?);
        out.put_u16(0);
        for value in self.0 {
            out.put_u16(f16::from_f32(*value).to_bits());
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        kind.name() == "halfvec"
    }

    to_sql_checked!();
}
