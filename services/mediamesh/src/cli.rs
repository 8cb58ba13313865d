//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use mediamesh_mesh::ServiceName;

mod integrity;
mod load;
mod sessions;
mod users;

pub(crate) use integrity::Integrity;
pub(crate) use load::Load;
pub(crate) use sessions::Sessions;
pub(crate) use users::Users;

/// mediamesh finds media: photos and videos go in, and are found again by words, by example, or
/// both.
#[derive(Debug, Parser)]
#[command(
    name = "mediamesh",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Configuration file (TOML).
    #[arg(long, global = true, env = "MEDIAMESH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that holds the database, the bytes, the indexes and the models [default: the user's
    /// data folder].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// PostgreSQL to use instead of the embedded database, e.g. `postgres://user@host/mediamesh`;
    /// other users of this machine can read a command line, so give a password in
    /// MEDIAMESH_DATABASE__URL instead.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Log filter, e.g. `info,mediamesh_media=debug`.
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the whole mesh in this process, and optionally import a folder.
    ///
    /// Ctrl-C drains: what runs is finished, then the process ends. A second Ctrl-C ends it at
    /// once; nothing that was acknowledged is lost.
    Up(Up),
    /// Start some of the services in this process; the others are reached over the network.
    Serve(Serve),
    /// Import files and folders into a running mesh.
    Import(Import),
    /// Search a running mesh.
    Search(Search),
    /// Show an item, or save its bytes.
    Get(Get),
    /// Background work: list, show, cancel, retry, pause, resume.
    #[command(subcommand)]
    Jobs(Jobs),
    /// API keys: make, list, revoke.
    #[command(subcommand)]
    Keys(Keys),
    /// Who is logged in: list, revoke, sweep.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Users and what they have stored.
    #[command(subcommand)]
    Users(Users),
    /// Models for semantic search: list, pull, use.
    #[command(subcommand)]
    Models(Models),
    /// The configuration of this machine.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Watch the mesh: the servers each process calls, their breakers, load and budgets.
    Top(Top),
    /// How processes of a mesh do: requests, latencies, errors, caches, pools, breakers.
    Report(Report),
    /// What could be better about the database: indexes, statistics, plans.
    Advise(Advise),
    /// Compare what the database names with what is stored, and mend what can be mended.
    ///
    /// Ends with 0 if all is well or mended, 65 if something is wrong, 1 if it could not look.
    Integrity(Integrity),
    /// Check data folder, database, models and ports, and say what to mend.
    Doctor,
    /// Bring the database up to the schema of this version.
    Migrate,
    /// Measure import, search and recall on real photos, and search at scale.
    Bench(Bench),
    /// Put many users at once on a running mesh, and see whether it bears them.
    Load(Load),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Import this file or folder, with all below it.
    #[arg(long, value_name = "PATH")]
    pub(crate) import: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) listen: Listen,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Services of this process.
    #[arg(required = true, value_enum)]
    pub(crate) services: Vec<ServiceArg>,
    /// Where another service is, e.g. `search=http://10.0.0.7:50051,http://10.0.0.8:50051`, or
    /// `search=dns:///search.media.svc:50051` for every address of a name. `mesh.endpoints` in the
    /// configuration says the same.
    #[arg(long, value_name = "SERVICE=URI[,URI...]")]
    pub(crate) peer: Vec<String>,
    #[command(flatten)]
    pub(crate) listen: Listen,
}

impl ServiceArg {
    /// The service itself; the worker is none.
    pub(crate) fn name(self) -> Option<ServiceName> {
        Some(match self {
            Self::Cache => ServiceName::Cache,
            Self::Embedding => ServiceName::Embedding,
            Self::Media => ServiceName::Media,
            Self::Search => ServiceName::Search,
            Self::Edge => ServiceName::Edge,
            Self::Worker => return None,
        })
    }
}

/// A service on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceArg {
    /// Two-tier cache.
    Cache,
    /// Vectors from texts and images.
    Embedding,
    /// Items, renditions, jobs and their workers.
    Media,
    /// Full text and vector search.
    Search,
    /// HTTP.
    Edge,
    /// Workers of the queue and nothing else; wants PostgreSQL, and the files where media has them.
    Worker,
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// HTTP address [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// gRPC address [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDR")]
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// Once everything serves, write addresses and process id to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Who calls.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiKey {
    /// API key, of an operator for `top` and `report`, for a mesh that asks for one.
    #[arg(
        long,
        env = "MEDIAMESH_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
}

/// Where the mesh is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Endpoint {
    /// gRPC address of the mesh [default: the process that holds the data folder, else
    /// http://127.0.0.1:50051].
    #[arg(long, env = "MEDIAMESH_ENDPOINT", value_name = "URI")]
    pub(crate) endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) key: ApiKey,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// List jobs, newest first.
    List {
        /// Only in this state.
        #[arg(long, value_enum)]
        state: Option<JobStateArg>,
        /// Only of this kind.
        #[arg(long, value_enum)]
        kind: Option<JobKindArg>,
        /// Most jobs.
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: u16,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Show a job; with --watch, until it has ended.
    Show {
        /// Id of the job, as listed.
        id: String,
        /// Go on until it has ended; fails if the job does.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Show the steps of a tree of jobs with one status, or a job and what it queued itself.
    Tree {
        /// Id of the tree, or of a job.
        id: String,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Cancel a job that waits or runs.
    Cancel {
        /// Id of the job, as listed.
        id: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Queue a job that failed or was cancelled again, or all that failed.
    Retry {
        /// Id of the job, as listed.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All that failed, up to 10000, oldest first.
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// Only of this kind; goes with --all.
        #[arg(long, value_enum, requires = "all")]
        kind: Option<JobKindArg>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Keep jobs from being started; what runs goes on. Needs an admin key where keys are asked for.
    Pause {
        /// Only of this kind [default: all].
        #[arg(long, value_enum)]
        kind: Option<JobKindArg>,
        /// For how long, e.g. `30m` [default: until they are resumed].
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        length: Option<std::time::Duration>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// End a pause. Needs an admin key where keys are asked for.
    Resume {
        /// The pause of this kind [default: the pause of all kinds].
        #[arg(long, value_enum)]
        kind: Option<JobKindArg>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List what is queued by itself, when it is due, and how it went. Needs an admin key where
    /// keys are asked for.
    Schedules {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Show how full the queue is, how fast it goes, and what is paused.
    Stats {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// What a job does, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JobKindArg {
    /// Renditions, colours, hashes, vectors of an item.
    ProcessMedia,
    /// Missing vectors of an item.
    EmbedMedia,
    /// Bytes of deleted items.
    DeleteBlobs,
    /// Jobs that ended long ago.
    SweepJobs,
    /// Bytes that no row refers to.
    SweepBlobs,
    /// What rows name against what is stored.
    CheckBlobs,
}

/// State of a job, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JobStateArg {
    /// Waits for a worker or for its time.
    Queued,
    /// A worker is at it.
    Running,
    /// Done.
    Succeeded,
    /// Out of attempts, or failed for good.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Waits for other steps of its tree.
    Blocked,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and show it, this once.
    Create {
        /// Name that tells people what uses it.
        name: String,
        /// What it may do; each includes those before it.
        #[arg(long, value_enum, default_value = "read")]
        scope: Vec<ScopeArg>,
        /// How long it is good for, e.g. `90d`; without, until it is revoked.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<std::time::Duration>,
        /// Make a tenant of this name, and the key for it; needs --offline.
        #[arg(long, value_name = "NAME", conflicts_with = "tenant")]
        new_tenant: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: KeysWhere,
    },
    /// List the keys of the tenant, newest first.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: KeysWhere,
    },
    /// End a key for good.
    Revoke {
        /// Id of the key, as listed.
        id: String,
        #[command(flatten)]
        at: KeysWhere,
    },
}

/// Where keys are kept: a running mesh, or the data folder.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysWhere {
    /// Work on the data folder itself, as for the first key; the default when no mesh runs on it.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Tenant to work for [default: the local one]; needs --offline.
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

/// A scope on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// Search, list, read and download.
    Read,
    /// Upload, change and delete as well.
    Write,
    /// Make and revoke keys as well.
    Admin,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files and folders.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Folder in the library to put them below.
    #[arg(long, default_value = "", value_name = "FOLDER")]
    pub(crate) into: String,
    /// Tag for every file; may be given several times.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Return when everything is stored, without waiting until it is processed.
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Words; "quoted words" must stand together, -word leaves out.
    #[arg(default_value = "")]
    pub(crate) query: String,
    /// An image file to be near to.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// A stored item to be near to; may be given several times.
    #[arg(long, value_name = "ID")]
    pub(crate) like: Vec<String>,
    /// Most hits.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: u16,
    /// Least score in [0, 1].
    #[arg(long)]
    pub(crate) min_score: Option<f32>,
    /// Only in this folder or below it.
    #[arg(long, default_value = "")]
    pub(crate) folder: String,
    /// Only with this tag; may be given several times.
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Only of this kind: image or video.
    #[arg(long)]
    pub(crate) kind: Vec<String>,
    /// Only of this orientation: landscape, portrait or square.
    #[arg(long)]
    pub(crate) orientation: Vec<String>,
    /// Only with a dominant colour near this one: #rrggbb or a name.
    #[arg(long, default_value = "")]
    pub(crate) color: String,
    /// Taken at this day or later: YYYY-MM-DD.
    #[arg(long)]
    pub(crate) from: Option<chrono::NaiveDate>,
    /// Taken before this day: YYYY-MM-DD.
    #[arg(long)]
    pub(crate) to: Option<chrono::NaiveDate>,
    /// Say how hits were found.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Id of the item.
    pub(crate) id: String,
    /// Save bytes to this file; `-` is standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Which bytes: a rendition such as `main` or `thumb_300`; empty is the original.
    #[arg(long, default_value = "")]
    pub(crate) rendition: String,
    /// Print the item as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List installed models, and known good ones that can be pulled.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model from a hub; a pull that was cut is resumed.
    Pull {
        /// E.g. `openai/clip-vit-base-patch32`.
        id: String,
        /// Branch, tag or commit.
        #[arg(long, default_value = "main")]
        revision: String,
        /// Base address of the hub [default: $HF_ENDPOINT, else the public hub].
        #[arg(long, value_name = "URI")]
        hub: Option<String>,
        /// Do not make it the model in use.
        #[arg(long)]
        no_use: bool,
    },
    /// Make an installed model the one in use, from the next start on.
    Use {
        /// Id of the model; `none` goes back to full text and the built-in descriptor.
        id: String,
    },
    /// Install a model from a folder in the hub's layout.
    Install {
        /// Id to install it under.
        id: String,
        /// Folder with config.json, weights and tokenizer.
        from: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every value and where it came from; secrets are masked.
    Print,
    /// Print what can be set, with defaults and meanings, as Markdown.
    Reference,
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// HTTP addresses of processes, e.g. `127.0.0.1:8080` [default: the process that holds the data
    /// folder, else the configured `listen`].
    #[arg(value_name = "ADDR")]
    pub(crate) address: Vec<String>,
    /// How often to look.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) interval: std::time::Duration,
    /// Look once and leave.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) key: ApiKey,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// HTTP addresses of processes, e.g. `127.0.0.1:8080` [default: the process that holds the data
    /// folder, else the configured `listen`].
    #[arg(value_name = "ADDR")]
    pub(crate) address: Vec<String>,
    /// Look for so long, at most a minute; without, tell of the whole life of each process.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) window: std::time::Duration,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) key: ApiKey,
}

#[derive(Debug, Args)]
pub(crate) struct Advise {
    /// A statement to explain instead, e.g. `SELECT count(*) FROM media_items`.
    pub(crate) statement: Option<String>,
    /// Run it as well, for its real times and rows; only if it reads.
    #[arg(long, requires = "statement")]
    pub(crate) run: bool,
    /// Mend what can be mended: make missing indexes, beside writers on PostgreSQL, and read statistics
    /// anew. Each failure is told of and the next is tried; again it does nothing.
    #[arg(long, conflicts_with = "statement")]
    pub(crate) apply: bool,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Folder of real photos.
    #[arg(long, value_name = "DIR")]
    pub(crate) corpus: Option<PathBuf>,
    /// Folder of altered copies with `truth.csv` (copy,original).
    #[arg(long, value_name = "DIR")]
    pub(crate) variants: Option<PathBuf>,
    /// Also search this many synthetic items.
    #[arg(long, default_value_t = 0, value_name = "ITEMS")]
    pub(crate) synthetic: u32,
    /// Searches per measurement.
    #[arg(long, default_value_t = 500)]
    pub(crate) searches: u32,
}
