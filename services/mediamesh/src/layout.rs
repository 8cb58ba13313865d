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
    /// Whether this process works on jobs.
    pub(crate) works: bool,
}

impl Layout {
    /// Everything in this process.
    ///
    /// Errors: `Usage` if nobody could work on the queue.
    pub(crate) fn whole(config: &Config) -> Result<Self> {
        let here = vec![Cache, Embedding, Media, Search, Edge];
        Ok(Self {
            works: works(&here, false, config)?,
            here,
            peers: BTreeMap::new(),
        })
    }

    /// What the command line and `mesh.endpoints` say; the command line wins.
    ///
    /// Errors: `Usage` for a peer that does not parse, a service that is needed and nowhere, or a worker
    /// that could not reach the queue.
    pub(crate) fn of(args: &Serve, config: &Config) -> Result<Self> {
        let named = args.services.iter();
        let mut here: Vec<ServiceName> = named.filter_map(|one| one.name()).collect();
        let worker = args.services.iter().any(|one| one.name().is_none());
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
        let works = works(&here, worker, config)?;
        let layout = Self { here, peers, works };
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
            !self.has(*name) && self.callers().any(|(_, calls)| calls.contains(name))
        })
    }

    /// Who runs here, and whom they call.
    fn callers(&self) -> impl Iterator<Item = (&'static str, &'static [ServiceName])> {
        let services = self.here.iter().map(|name| (name.as_str(), callees(*name)));
        let worker = self.works.then_some(("worker", WORKER_CALLS));
        services.chain(worker)
    }

    fn who_needs(&self, name: ServiceName) -> String {
        let callers = self.callers().filter(|(_, calls)| calls.contains(&name));
        let names: Vec<&str> = callers.map(|(caller, _)| caller).collect();
        names.join(", ")
    }
}

/// Whether a process of these services works on jobs.
fn works(here: &[ServiceName], worker: bool, config: &Config) -> Result<bool> {
    let beside_media = here.contains(&Media) && config.media.worker.enabled;
    let elsewhere = here.contains(&Media) && !beside_media && !worker;
    if config.database.url.is_none() && (elsewhere || worker && !here.contains(&Media)) {
        let text = "workers in a process of their own reach the queue by PostgreSQL only: set database.url, \
                    or leave the work to media (media.worker.enabled = true)";
        return Err(Usage(text.to_owned()).into());
    }
    Ok(beside_media || worker)
}

const WORKER_CALLS: &[ServiceName] = &[Embedding, Search];

/// Whom a service calls; `docs/architecture.md` has the reasons.
const fn callees(name: ServiceName) -> &'static [ServiceName] {
    match name {
        Edge => &[Cache, Embedding, Media, Search],
        Media => WORKER_CALLS,
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
        parsed(line, &Config::default())
    }

    fn parsed(line: &str, config: &Config) -> Result<Layout> {
        let cli = Cli::parse_from(["mediamesh", "serve"].into_iter().chain(line.split(' ')));
        let Command::Serve(args) = cli.command else {
            panic!("{line}")
        };
        Layout::of(&args, config)
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

    #[test]
    fn a_worker_of_its_own_wants_a_database_that_it_can_reach() {
        const ELSEWHERE: &str = "--peer embedding=http://a:1 --peer search=http://a:2";
        let beside = layout(&format!("media {ELSEWHERE}")).unwrap();
        assert!(beside.works);
        let alone = layout(&format!("worker {ELSEWHERE}")).err().unwrap();
        assert!(alone.to_string().contains("database.url"), "{alone}");
        let mut config = Config::default();
        config.media.worker.enabled = false;
        assert!(Layout::whole(&config).is_err(), "nobody would work");
        config.database.url = Some("postgres://a/b".to_owned());
        assert!(!Layout::whole(&config).unwrap().works);
        let alone = parsed(&format!("worker {ELSEWHERE}"), &config).unwrap();
        assert!(alone.works && alone.here.is_empty());
        let lost = parsed("worker", &config).err().unwrap().to_string();
        assert!(lost.contains("search is needed by worker"), "{lost}");
    }
}
