//! `config`: what is set, and what can be.

use anyhow::Result;
use mediamesh_config::{print::print, reference::reference};

use super::policies;
use crate::{
    cli::{ConfigCommand, Global},
    config::{self, Config},
    import::screen::say,
};

const ABOUT: &str = "\
# Configuration

Made by `mediamesh config reference`; a test holds it to the code.

Defaults < TOML file (`--config`) < environment < flags. A key of a table is a variable with two
underscores between the names: `MEDIAMESH_MEDIA__WORKER__CONCURRENCY=4`. An unknown key is an error.
A name with dots, such as a method's, is quoted in a file,
`[mesh.methods.\"mediamesh.media.v1.MediaService/GetMediaItem\"]`, and stands in the value of a variable:
`MEDIAMESH_MESH__METHODS='{ \"mediamesh.media.v1.MediaService/GetMediaItem\" = { deadline_ms = 5000 } }'`.
`mediamesh config print` shows every value in force and where it came from,
`mediamesh config schema` the JSON Schema for editors.
";

pub(super) fn run(command: &ConfigCommand, global: &Global) -> Result<()> {
    let text = match command {
        ConfigCommand::Print => {
            let loaded = config::load(global, None)?;
            let secrets = [
                "token",
                "admin.tokens",
                "secret",
                "password",
                "signing_keys",
                "database.url",
                "database.replica_url",
            ];
            print(&loaded, &secrets) + &policies::print(&loaded.value.mesh)
        }
        ConfigCommand::Reference => {
            let schema = schemars::schema_for!(Config).to_value();
            let defaults = serde_json::to_value(Config::default())?;
            format!("{ABOUT}\n{}", reference(&schema, &defaults))
        }
        ConfigCommand::Schema => serde_json::to_string_pretty(&schemars::schema_for!(Config))?,
    };
    say(text.trim_end());
    Ok(())
}
