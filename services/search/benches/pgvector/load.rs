//! Fills the tables by COPY in PostgreSQL's binary format: a header, for each row the number of its
//! fields and each field with its length, and -1 at the end.

use half::f16;
use mediamesh_mesh::LOCAL_TENANT_ID;
use mediamesh_proto::TenantId;
use mediamesh_testkit::postgres::TestDatabase;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::data::Set;

pub(crate) const TENANT: TenantId = TenantId(LOCAL_TENANT_ID);
/// Id, version and precision.
pub(crate) const MODEL: &str = "bench@1/f32";
/// `State::Ready` and the kind of a picture, as the table holds them.
const READY: i16 = 3;
const IMAGE: i16 = 1;
/// Bytes that are sent at once.
const CHUNK: usize = 1 << 20;

/// Id of the item with this key.
pub(crate) fn id(key: u32) -> Uuid {
    Uuid::from_u128(1 << 100 | u128::from(key))
}

struct Copy {
    out: Vec<u8>,
}

impl Copy {
    fn new() -> Self {
        let mut out = b"PGCOPY\n\xff\r\n\0".to_vec();
        out.extend([0; 8]);
        Self { out }
    }

    fn row(&mut self, fields: &[&[u8]]) {
        let count = i16::try_from(fields.len()).unwrap();
        self.out.extend(count.to_be_bytes());
        for field in fields {
            let length = i32::try_from(field.len()).unwrap();
            self.out.extend(length.to_be_bytes());
            self.out.extend(*field);
        }
    }

    async fn send(mut self, client: &Client, table: &str) {
        use futures::SinkExt as _;
        self.out.extend((-1_i16).to_be_bytes());
        let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
        let sink = client.copy_in(&statement).await.unwrap();
        tokio::pin!(sink);
        for chunk in self.out.chunks(CHUNK) {
            let chunk = bytes::Bytes::copy_from_slice(chunk);
            sink.send(chunk).await.unwrap();
        }
        sink.finish().await.unwrap();
    }
}

/// Stores every vector of a set and an item for each.
pub(crate) async fn copy(test: &TestDatabase, set: &Set) {
    let (client, connection) = tokio_postgres::connect(&test.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let tenant = TENANT.0;
    let make = format!("INSERT INTO tenants (id, name, create_time) VALUES ('{tenant}', 't', 0)");
    client.batch_execute(&make).await.unwrap();
    let mut items = Copy::new();
    let mut vectors = Copy::new();
    for ((key, vector), size) in (1_u32..).zip(&set.vectors).zip(&set.sizes) {
        let key_field = i64::from(key).to_be_bytes();
        let name = format!("{key}.jpg");
        let item = id(key);
        items.row(&[
            &key_field,
            tenant.as_bytes(),
            item.as_bytes(),
            &IMAGE.to_be_bytes(),
            &READY.to_be_bytes(),
            name.as_bytes(),
            b"bench",
            b"image/jpeg",
            &size.to_be_bytes(),
            &[*item.as_bytes(), *item.as_bytes()].concat(),
            &key_field,
            &key_field,
            &key_field,
            name.as_bytes(),
        ]);
        let mut halves = u16::try_from(set.dims).unwrap().to_be_bytes().to_vec();
        halves.extend([0, 0]);
        for value in vector {
            halves.extend(f16::from_f32(*value).to_bits().to_be_bytes());
        }
        vectors.row(&[
            tenant.as_bytes(),
            MODEL.as_bytes(),
            &key_field,
            &halves,
            &key_field,
        ]);
    }
    let columns = "media_items (item_key, tenant_id, id, kind, state, display_name, folder, \
                   content_type, size_bytes, sha256, media_time, create_time, update_time, blob_key)";
    items.send(&client, columns).await;
    let columns = "media_embeddings (tenant_id, model, item_key, vector, create_time)";
    vectors.send(&client, columns).await;
}
