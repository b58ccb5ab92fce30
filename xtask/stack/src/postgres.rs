//! Private PostgreSQL servers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

pub use crate::postgres_server::{Database, PostgresServer, migrations};
use crate::process::{Launch, Process};
use crate::scratch::Scratch;
use crate::{ports, programs, wait};

const START_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_CONNECTIONS: u32 = 200;
/// Everybody may pass through a folder, nobody else may list it.
const TRAVERSABLE: u32 = 0o711;

/// How a [`Postgres`] runs. The default is a test's: a free port, a temporary folder, nothing
/// flushed to disk.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// The data folder, initialised if it is empty; a temporary one if none.
    pub data: Option<PathBuf>,
    /// The log file, if it is not to be `<data folder>.log`.
    pub log: Option<PathBuf>,
    /// The port on 127.0.0.1; a free one if none.
    pub port: Option<u16>,
    /// Whether commits survive a crash of the machine (`fsync` and its like on).
    pub durable: bool,
}

/// A PostgreSQL server on 127.0.0.1 with the superuser `postgres`, the ordinary role `onsale`
/// and that role's database `onsale`. No passwords. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    server: PostgresServer,
    port: u16,
    data: PathBuf,
    // After the process: fields are dropped in order.
    _scratch: Option<Scratch>,
}

impl Postgres {
    /// Initialises the data folder if need be, starts a server and waits until it accepts
    /// connections.
    pub fn start(options: &PostgresOptions) -> Result<Self> {
        let programs = Programs::find()?;
        let scratch = match options.data {
            Some(_) => None,
            None => Some(Scratch::new("postgres")?),
        };
        let data = match (&options.data, &scratch) {
            (Some(data), _) => data.clone(),
            (None, Some(scratch)) => scratch.path().join("data"),
            (None, None) => bail!("no folder for PostgreSQL"),
        };
        let identity = Identity::choose()?;
        if let (Identity::PostgresUser, Some(scratch)) = (&identity, &scratch) {
            // Temporary folders are closed to other users, and this one has to get through.
            std::fs::set_permissions(scratch.path(), Permissions::from_mode(TRAVERSABLE))?;
        }
        initialise(&programs, &identity, &data)?;
        let (process, port) = ports::with_port(options.port, |port| {
            let process = launch(&programs, &identity, &data, port, options).start()?;
            wait_until_ready(&process, &data)?;
            Ok((process, port))
        })?;
        let server = PostgresServer::new(&format!("postgres://postgres@127.0.0.1:{port}/postgres"), programs.psql())?;
        server.prepare()?;
        Ok(Self { process, server, port, data, _scratch: scratch })
    }

    /// The URL of a database for the role `onsale`.
    pub fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// The same for gateways.
    pub fn gateway_url(&self, database: &str) -> String {
        self.server.gateway_url(database)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// To make and drop databases.
    pub fn server(&self) -> &PostgresServer {
        &self.server
    }

    /// The server process, to kill, pause or resume.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it in good order; open connections are closed.
    pub fn stop(&self) {
        self.process.terminate(STOP_TIMEOUT);
    }

    /// Stops it if it runs, and starts it again with the same port and data.
    pub fn restart(&self) -> Result<()> {
        self.stop();
        self.process.restart()?;
        wait_until_ready(&self.process, &self.data)
    }
}

/// PostgreSQL's own programs, all from one folder and so of one version.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The newest PostgreSQL that is installed.
    pub fn find() -> Result<Self> {
        let folder = candidates()
            .into_iter()
            .find(|folder| is_postgres(folder))
            .context("PostgreSQL is not installed (initdb and postgres were looked for in /usr/lib/postgresql, Homebrew's folders and PATH)")?;
        Ok(Self { folder })
    }

    /// The path of `psql`.
    pub fn psql(&self) -> PathBuf {
        let beside = self.folder.join("psql");
        if programs::is_executable(&beside) {
            return beside;
        }
        programs::find("psql").unwrap_or(beside)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in
        [("/usr/lib/postgresql", ""), ("/opt/homebrew/opt", "postgresql@"), ("/usr/local/opt", "postgresql@")]
    {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if let Some(version) = version.and_then(|version| version.parse().ok()) {
                versions.push((version, entry.path().join("bin")));
            }
        }
    }
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = versions.into_iter().map(|(_, folder)| folder).collect();
    folders.extend(std::env::split_paths(&path));
    folders
}

/// A program called `postgres` may be anything; it has to say that it is the one.
fn is_postgres(folder: &Path) -> bool {
    programs::is_executable(&folder.join("initdb"))
        && programs::output(programs::command(folder.join("postgres")).arg("--version"))
            .is_ok_and(|version| version.starts_with("postgres (PostgreSQL)"))
}

/// As whom the server runs: it refuses to run as root.
enum Identity {
    /// Whoever we are.
    Same,
    /// Root outside, somebody else as seen by the server: the files stay root's, so that a
    /// checkout in root's home works and nothing changes its owner.
    UserNamespace,
    /// The package's user, to whom the data folder is given.
    PostgresUser,
}

impl Identity {
    const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];
    const SETPRIV: [&str; 4] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];

    fn choose() -> Result<Self> {
        if !programs::is_root() {
            return Ok(Self::Same);
        }
        for identity in [Self::UserNamespace, Self::PostgresUser] {
            let mut line = identity.wrapper().to_vec();
            line.push("true");
            if programs::succeeds(&line) {
                return Ok(identity);
            }
        }
        bail!(
            "PostgreSQL refuses to run as root, and neither a user namespace (unshare) nor the \
             user `postgres` (setpriv) can be used here: run this as an ordinary user"
        )
    }

    fn wrapper(&self) -> &'static [&'static str] {
        match self {
            Self::Same => &[],
            Self::UserNamespace => &Self::UNSHARE,
            Self::PostgresUser => &Self::SETPRIV,
        }
    }
}

fn initialise(programs: &Programs, identity: &Identity, data: &Path) -> Result<()> {
    if data.join("PG_VERSION").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(data)?;
    if matches!(identity, Identity::PostgresUser) {
        programs::output(programs::command("chown").arg("postgres:").arg(data))?;
    }
    // macOS knows no C.UTF-8; both sort by bytes.
    let locale = if cfg!(target_os = "linux") { "--locale=C.UTF-8" } else { "--locale=C" };
    let initdb = programs.folder.join("initdb");
    let mut words = identity.wrapper().iter().map(std::ffi::OsStr::new).chain([initdb.as_os_str()]);
    let mut command = programs::command(words.next().unwrap_or_default());
    command
        .args(words)
        .arg("-D")
        .arg(data)
        .args(["-U", "postgres", "--auth=trust", "-E", "UTF8", locale])
        .arg("--no-sync")
        .current_dir("/");
    // A half-made folder would be taken for a finished one by the next start.
    programs::output(&mut command).inspect_err(|_| {
        let _ = std::fs::remove_dir_all(data);
    })?;
    Ok(())
}

fn launch(programs: &Programs, identity: &Identity, data: &Path, port: u16, options: &PostgresOptions) -> Launch {
    let log = options.log.clone().unwrap_or_else(|| data.with_extension("log"));
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("max_connections={MAX_CONNECTIONS}"),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
    ];
    if !options.durable {
        let fast = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
        settings.extend(fast.map(str::to_owned));
    }
    Launch::new("postgres", programs.folder.join("postgres"), log)
        .wrapper(identity.wrapper())
        .args([std::ffi::OsStr::new("-D"), data.as_os_str()])
        .args(["-p", &port.to_string()])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .folder("/")
        // "Fast" shutdown: SIGTERM would wait for every client to leave.
        .stop_signal(Signal::INT)
        // "Immediate" shutdown: unlike a kill it frees the shared memory.
        .orphan_signal("QUIT")
}

/// The server writes its state into `postmaster.pid`: line 1 is its process id (as it sees it,
/// which a user namespace leaves alone), line 8 its status.
fn wait_until_ready(process: &Process, data: &Path) -> Result<()> {
    let own = process.pid().to_string();
    wait::until("PostgreSQL to accept connections", START_TIMEOUT, || {
        process.ensure_running()?;
        let state = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = state.lines().map(str::trim).collect();
        let ready = lines.first() == Some(&own.as_str()) && lines.get(7) == Some(&"ready");
        Ok(ready.then_some(()))
    })
}
