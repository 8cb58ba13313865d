//! Which services run in this process, and where the others are.

use std::collections::BTreeMap;

use anyhow::Result;
use mediamesh_mesh::ServiceName;
use mediamesh_mesh::ServiceName::{Cache, Edge, Embedding, Media, Search};

use crate::{cli::Serve, config::Config, exit::Usage};

/// See the module.
pub(crate) struct Layout {
    pub(crate) here: Vec<ServiceName>,
    pub(crate) peers: BTreeMap<ServiceName, Vec<String>>,
}

impl Layout {
    /// Everything in this process.
    pub(crate) fn whole() -> Self {
        Self {
            here: vec![Cache, Embedding, Media, Search, Edge],
            peers: BTreeMap::new(),
        }
    }

    /// What the command line and `mesh.endpoints` say; the command line wins.
    ///
    /// Errors: `Usage` for a peer that does not parse, or a service that is needed and nowhere.
    pub(crate) fn of(args: &Serve, config: &Config) -> Result<Self> {
        let mut here: Vec<ServiceName> = args.services.iter().map(|one| one.name()).collect();
        here.sort_unstable();
        here.dedup();
        let mut peers = config.mesh.endpoints.clone();
        for peer in &args.peer {
            let (name, endpoints) = peer
                .split_once('=')
                .ok_or_else(|| Usage(format!("--peer {peer}: must be SERVICE=URI[,URI...]")))?;
            let name = ServiceName::ALL
                .into_iter()
                .find(|service| service.as_str() == name)
                .ok_or_else(|| Usage(format!("--peer {peer}: `{name}` is no service")))?;
            let endpoints = endpoints.split(',').map(str::to_owned).collect();
            peers.insert(name, endpoints);
        }
        let layout = Self { here, peers };
        let missing: Vec<String> = layout
            .needed()
            .filter(|name| layout.peers.get(name).is_none_or(Vec::is_empty))
            .map(|name| {
                format!(
                    "{name} is needed by {} and runs elsewhere: say where with --peer \
                     {name}=http://host:port or mesh.endpoints.{name}",
                    layout.who_needs(name)
                )
            })
            .collect();
        match missing.is_empty() {
            true => Ok(layout),
            false => Err(Usage(missing.join("\n")).into()),
        }
    }

    pub(crate) fn has(&self, name: ServiceName) -> bool {
        self.here.contains(&name)
    }

    /// Services that run elsewhere and are called from here.
    pub(crate) fn needed(&self) -> impl Iterator<Item = ServiceName> {
        ServiceName::ALL.into_iter().filter(|name| {
            !self.has(*name) && self.here.iter().any(|here| callees(*here).contains(name))
        })
    }

    fn who_needs(&self, name: ServiceName) -> String {
        let callers = self
            .here
            .iter()
            .filter(|here| callees(**here).contains(&name));
        let names: Vec<&str> = callers.map(|caller| caller.as_str()).collect();
        names.join(", ")
    }
}

/// Whom a service calls; `docs/architecture.md` has the reasons.
const fn callees(name: ServiceName) -> &'static [ServiceName] {
    match name {
        Edge => &[Cache, Embedding, Media, Search],
        Media => &[Embedding, Search],
        Search => &[Embedding, Cache],
        Embedding => &[Cache],
        Cache => &[],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn layout(line: &str) -> Result<Layout> {
        let cli = Cli::parse_from(["mediamesh", "serve"].into_iter().chain(line.split(' ')));
        let Command::Serve(args) = cli.command else {
            panic!("{line}")
        };
        Layout::of(&args, &Config::default())
    }

    #[test]
    fn what_is_needed_elsewhere_must_be_somewhere() {
        let error = layout("search").err().unwrap().to_string();
        assert!(error.contains("embedding is needed by search"), "{error}");
        assert!(error.contains("mesh.endpoints.cache"), "{error}");
        let search =
            layout("search --peer embedding=http://a:1,http://b:1 --peer cache=dns:///c:1")
                .unwrap();
        assert_eq!(search.peers[&Embedding], ["http://a:1", "http://b:1"]);
        assert!(layout("cache").unwrap().peers.is_empty());
        assert!(layout("cache embedding media search edge").is_ok());
        assert!(layout("cache --peer nobody=http://a:1").is_err());
        assert!(layout("cache --peer media").is_err());
    }
}
