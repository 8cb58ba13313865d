//! `sessions`: who is logged in, in a running mesh.

use anyhow::Result;
use mediamesh_mesh::Channel;
use mediamesh_proto::{
    cache::v1::{
        DeleteSessionRequest, ListSessionsRequest, RevokeSessionsRequest, Session,
        SweepSessionsRequest, session_service_client::SessionServiceClient,
    },
    pbjson_types::Timestamp,
};

use super::table::table;
use crate::{
    cli::{Endpoint, Sessions as Command},
    client,
    config::Config,
    import::screen::say,
};

/// Sessions on a page of a list.
const PAGE: i32 = 500;

pub(super) async fn run(command: Command, config: &Config) -> Result<()> {
    let open = |endpoint: &Endpoint| -> Result<SessionServiceClient<Channel>> {
        Ok(SessionServiceClient::new(client::connect(
            endpoint, config,
        )?))
    };
    match command {
        Command::List {
            user,
            json,
            endpoint,
        } => {
            let sessions = list(open(&endpoint)?, user.unwrap_or_default()).await?;
            match json {
                true => say(&serde_json::to_string_pretty(&sessions)?),
                false => print(&sessions),
            }
        }
        Command::Revoke {
            handle: Some(handle),
            endpoint,
            ..
        } => {
            let request = DeleteSessionRequest {
                handle: handle.clone(),
            };
            let answer = open(&endpoint)?.delete_session(request).await;
            answer.map_err(|status| client::explain(&status))?;
            say(&format!("{handle} has ended"));
        }
        Command::Revoke {
            handle: None,
            user,
            endpoint,
            ..
        } => {
            let request = RevokeSessionsRequest {
                user_id: user.unwrap_or_default(),
                except_handle: String::new(),
            };
            let answer = open(&endpoint)?.revoke_sessions(request).await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            say(&format!("{} sessions have ended", answer.get_ref().revoked));
        }
        Command::Sweep { endpoint } => {
            let answer = open(&endpoint)?
                .sweep_sessions(SweepSessionsRequest {})
                .await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            say(&format!(
                "{} sessions whose time is over are removed",
                answer.get_ref().removed
            ));
        }
    }
    Ok(())
}

async fn list(mut client: SessionServiceClient<Channel>, user_id: String) -> Result<Vec<Session>> {
    let mut all = Vec::new();
    let mut request = ListSessionsRequest {
        user_id,
        page_size: PAGE,
        page_token: String::new(),
    };
    loop {
        let answer = client.list_sessions(request.clone()).await;
        let page = answer
            .map_err(|status| client::explain(&status))?
            .into_inner();
        all.extend(page.sessions);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

fn print(sessions: &[Session]) {
    let mut rows = table(["handle", "user", "opened", "last used", "until"]);
    for session in sessions {
        rows.add_row([
            session.handle.clone(),
            session.user_id.clone(),
            time(session.create_time.as_ref()),
            time(session.last_activity_time.as_ref()),
            time(session.expire_time.as_ref()),
        ]);
    }
    say(&rows.to_string());
}

pub(super) fn time(time: Option<&Timestamp>) -> String {
    time.and_then(|time| chrono::DateTime::from_timestamp(time.seconds, 0))
        .map_or_else(String::new, |time| {
            time.format("%Y-%m-%d %H:%M:%S").to_string()
        })
}
