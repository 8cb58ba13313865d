//! `import`: files and folders into a running mesh.

use anyhow::{Result, bail};

use crate::{cli::Import, client, config::Config, import};

pub(super) async fn run(args: Import, config: &Config) -> Result<()> {
    let channel = client::connect(&args.endpoint, config)?;
    let options = import::Options {
        paths: args.paths,
        into: args.into,
        tags: args.tag,
        no_wait: args.no_wait,
    };
    let summary = import::run(channel, options).await?;
    summary.print();
    match summary.is_failure() {
        true => bail!("nothing could be imported"),
        false => Ok(()),
    }
}
