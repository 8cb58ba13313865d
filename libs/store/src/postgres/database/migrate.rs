//! The schema, brought up to date by one process at a time.

use diesel::{QueryableByName, connection::SimpleConnection as _, sql_query, sql_types::Text};
use diesel_async::{
    AsyncPgConnection, RunQueryDsl as _, async_connection_wrapper::AsyncConnectionWrapper,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::{super::tls::Connector, Versions};
use crate::error::{Error, Result};

/// Schema versions, in order.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Advisory lock of whoever migrates: "mediames" in ASCII, so that no other product has it.
const LOCK: i64 = 0x6d65_6469_616d_6573;

/// Runs the migrations that are missing. Each is a transaction of its own: a process that is killed
/// leaves whole ones, and the next goes on behind them.
pub(super) async fn to_latest(connector: &Connector) -> Result<()> {
    let conn = connector.open().await?;
    let failed = |message: String| Error::Migrate { message };
    let run = tokio::task::spawn_blocking(move || {
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::from(conn);
        // Held by the session, so that it ends with this process however that ends.
        conn.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))
            .map_err(|error| failed(error.to_string()))?;
        conn.run_pending_migrations(MIGRATIONS)
            .map_err(|error| failed(error.to_string()))?;
        Ok(())
    });
    run.await.map_err(|panic| failed(panic.to_string()))?
}

#[derive(QueryableByName)]
struct VersionRow {
    #[diesel(sql_type = Text)]
    version: String,
}

pub(super) async fn versions(conn: &mut AsyncPgConnection) -> Result<Versions> {
    let server = sql_query("SELECT current_setting('server_version') AS version");
    let server: VersionRow = server.get_result(conn).await?;
    let vector = "SELECT extversion AS version FROM pg_extension WHERE extname = 'vector'";
    let vector: VersionRow = sql_query(vector).get_result(conn).await?;
    Ok(Versions {
        server: server.version,
        pgvector: vector.version,
    })
}
