//! `users`: what users have stored, in a running mesh.

use anyhow::{Context as _, Result};
use mediamesh_proto::media::v1::{GetUserRequest, User, user_service_client::UserServiceClient};

use super::{sessions::time, table::table};
use crate::{cli::Users as Command, client, config::Config, import::screen::say};

pub(super) async fn run(command: Command, config: &Config) -> Result<()> {
    let Command::Get {
        user,
        json,
        endpoint,
    } = command;
    let mut client = UserServiceClient::new(client::connect(&endpoint, config)?);
    let answer = client.get_user(GetUserRequest { user_id: user }).await;
    let answer = answer.map_err(|status| client::explain(&status))?;
    let user = answer.into_inner().user.context("no user in the answer")?;
    match json {
        true => say(&serde_json::to_string_pretty(&user)?),
        false => print(&user),
    }
    Ok(())
}

fn print(user: &User) {
    let mut rows = table([
        "user",
        "name",
        "files",
        "bytes",
        "first upload",
        "last upload",
    ]);
    rows.add_row([
        user.id.clone(),
        user.display_name.clone(),
        user.total_files.to_string(),
        user.total_storage_bytes.to_string(),
        time(user.first_upload_time.as_ref()),
        time(user.last_upload_time.as_ref()),
    ]);
    say(&rows.to_string());
}
