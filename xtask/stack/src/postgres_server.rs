//! Databases of a PostgreSQL server, private or given by URL.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::programs;

/// The role that tests and services connect as, where the server has it.
const ROLE: &str = "onsale";
/// The role that gateways connect as, where the server has it; `migrations/` give it what they need.
const GATEWAY_ROLE: &str = "gateway";

/// A running PostgreSQL server, reached as a role that may create databases.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    admin: Url,
    /// As whom [`PostgresServer::url`] connects and who owns new databases.
    role_is_ours: bool,
    /// The same for gateways.
    gateway_role_is_ours: bool,
    psql: PathBuf,
}

impl PostgresServer {
    /// The server at `admin_url` (`postgres://user[:password]@host[:port]/database`), using the
    /// given `psql`.
    pub fn new(admin_url: &str, psql: PathBuf) -> Result<Self> {
        Ok(Self { admin: Url::parse(admin_url)?, role_is_ours: true, gateway_role_is_ours: true, psql })
    }

    /// A server that somebody else started. Its roles `onsale` and `gateway` are used only where they are there;
    /// otherwise everything is done as `admin_url`'s own role.
    pub fn external(admin_url: &str) -> Result<Self> {
        let psql = crate::postgres::Programs::find()
            .map(|programs| programs.psql())
            .ok()
            .or_else(|| programs::find("psql"))
            .context("psql is not installed")?;
        let mut server = Self::new(admin_url, psql)?;
        server.role_is_ours = server.has_role(ROLE)?;
        server.gateway_role_is_ours = server.has_role(GATEWAY_ROLE)?;
        Ok(server)
    }

    /// The URL of one of its databases, for the role `onsale` (on a server that has no such role,
    /// for the one of the administrator's URL).
    pub fn url(&self, database: &str) -> String {
        let user = self.role_is_ours.then_some(ROLE);
        self.admin.with(user, database)
    }

    /// The same for gateways.
    pub fn gateway_url(&self, database: &str) -> String {
        if self.gateway_role_is_ours { self.admin.with(Some(GATEWAY_ROLE), database) } else { self.url(database) }
    }

    /// The URL of one of its databases, for the role that may create databases.
    pub fn admin_url(&self, database: &str) -> String {
        self.admin.with(None, database)
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let name = identifier(name)?;
        self.admin_sql(&format!("CREATE DATABASE {name}{}", self.owner()))?;
        Ok(())
    }

    /// Makes a copy of a database that nobody is connected to.
    pub fn create_database_from_template(&self, name: &str, template: &str) -> Result<()> {
        let (name, template) = (identifier(name)?, identifier(template)?);
        let owner = self.owner();
        self.admin_sql(&format!("CREATE DATABASE {name} TEMPLATE {template}{owner}"))?;
        Ok(())
    }

    /// Drops a database, and ends the connections to it. No error when there is none.
    pub fn drop_database(&self, name: &str) -> Result<()> {
        let name = identifier(name)?;
        self.admin_sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        Ok(())
    }

    /// A new database that nobody else uses, made by `migrate` (which gets the URL of an empty
    /// database and must close its connections before it returns).
    ///
    /// `migrate` runs once per server and `template` name, whichever of several test processes
    /// comes first; everybody else gets a copy within some tens of milliseconds.
    pub fn fresh_database(&self, template: &str, migrate: impl FnOnce(&str) -> Result<()>) -> Result<Database> {
        let template = self.template(template, migrate)?;
        let name = unique_name("test");
        self.create_database_from_template(&name, &template)?;
        Ok(Database { server: self.clone(), name })
    }

    /// Runs SQL as the administrator in the maintenance database and answers the rows, columns
    /// separated by `|`.
    pub fn admin_sql(&self, sql: &str) -> Result<String> {
        self.psql(&self.admin.text, &["-c", sql])
    }

    /// Applies SQL files in one transaction each, in the order given, to the database at `url`.
    pub fn apply(&self, url: &str, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let path = file.to_str().context("a file name that is not UTF-8")?;
            self.psql(url, &["--single-transaction", "-f", path])
                .with_context(|| format!("{path} can't be applied"))?;
        }
        Ok(())
    }

    /// The roles and the database `onsale`, on a server that we have started ourselves.
    pub(crate) fn prepare(&self) -> Result<()> {
        for role in [ROLE, GATEWAY_ROLE] {
            if !self.has_role(role)? {
                self.admin_sql(&format!("CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"))?;
            }
        }
        let databases = self.admin_sql(&format!("SELECT count(*) FROM pg_database WHERE datname = '{ROLE}'"))?;
        if databases.trim() == "0" {
            self.create_database(ROLE)?;
        }
        Ok(())
    }

    fn has_role(&self, name: &str) -> Result<bool> {
        Ok(self.admin_sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'"))?.trim() == "1")
    }

    fn owner(&self) -> String {
        if self.role_is_ours { format!(" OWNER {ROLE}") } else { String::new() }
    }

    fn template(&self, name: &str, migrate: impl FnOnce(&str) -> Result<()>) -> Result<String> {
        // Another version of the migrations is another template, should the server outlive us.
        let name = format!("template_{name}_{:016x}", migrations_fingerprint()?);
        let _lock = self.lock(&name)?;
        let found = self.admin_sql(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"))?;
        if found.trim() == "0" {
            // Under another name until it is whole: whoever dies half-way must not leave a
            // template that looks finished.
            let draft = unique_name("draft");
            self.create_database(&draft)?;
            migrate(&self.url(&draft))?;
            self.admin_sql(&format!("ALTER DATABASE {draft} RENAME TO {}", identifier(&name)?))?;
        }
        Ok(name)
    }

    /// A lock among all that use this server, held until it is dropped or its process dies.
    fn lock(&self, name: &str) -> Result<SessionLock> {
        let mut command = self.psql_command(&self.admin.text);
        let child = programs::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut lock = SessionLock { child };
        let sql = format!(
            "SET lock_timeout = '120s'; SELECT 'locked' FROM pg_advisory_lock(hashtextextended('{name}', 0));\n"
        );
        let (Some(stdin), Some(stdout)) = (&mut lock.child.stdin, &mut lock.child.stdout) else {
            bail!("psql has no pipes");
        };
        stdin.write_all(sql.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == "locked", "no lock on {name} within its time");
        Ok(lock)
    }

    fn psql(&self, url: &str, args: &[&str]) -> Result<String> {
        programs::output(self.psql_command(url).args(args))
    }

    fn psql_command(&self, url: &str) -> Command {
        let mut command = programs::command(&self.psql);
        command
            .args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", url])
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }
}

/// A `psql` whose session holds an advisory lock. It ends when its input does.
struct SessionLock {
    child: Child,
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It has nothing left to do but to read the end of its input.
        let _ = self.child.wait();
    }
}

/// A database that is dropped with this value, so let it live as long as the test.
#[derive(Debug)]
pub struct Database {
    server: PostgresServer,
    name: String,
}

impl Database {
    /// Its URL, for the role that owns it.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Its URL, for gateways.
    pub fn gateway_url(&self) -> String {
        self.server.gateway_url(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that was stopped or killed by the test needs no tidying.
        let _ = self.server.drop_database(&self.name);
    }
}

/// `postgres://user:password@host:port/database?parameters`, taken apart only where databases and
/// users are exchanged.
#[derive(Clone)]
struct Url {
    text: String,
    scheme: String,
    authority: String,
    parameters: String,
}

impl std::fmt::Debug for Url {
    /// Without user and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address())
    }
}

impl Url {
    fn parse(text: &str) -> Result<Self> {
        let Some((scheme @ ("postgres" | "postgresql"), rest)) = text.split_once("://") else {
            bail!("a PostgreSQL URL begins with postgres://");
        };
        let (rest, parameters) = match rest.split_once('?') {
            Some((rest, parameters)) => (rest, format!("?{parameters}")),
            None => (rest, String::new()),
        };
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        Ok(Self { text: text.to_owned(), scheme: scheme.to_owned(), authority: authority.to_owned(), parameters })
    }

    fn address(&self) -> &str {
        self.authority.rsplit_once('@').map_or(&self.authority, |(_, address)| address)
    }

    fn with(&self, user: Option<&str>, database: &str) -> String {
        let authority = match user {
            Some(user) => format!("{user}@{}", self.address()),
            None => self.authority.clone(),
        };
        format!("{}://{authority}/{database}{}", self.scheme, self.parameters)
    }
}

/// Names go into SQL unquoted, so they may hold nothing that needs quotes.
fn identifier(name: &str) -> Result<&str> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    ensure!(plain && begins && name.len() <= 63, "{name:?}: a database name is 1–63 of a–z, 0–9 and _, a letter first");
    Ok(name)
}

fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(number);
    format!("{prefix}_{}_{number}_{random:016x}", std::process::id())
}

/// The project's migrations in the order they are applied in.
pub fn migrations() -> Result<Vec<PathBuf>> {
    let folder = crate::project_root().join("migrations");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    Ok(files)
}

fn migrations_fingerprint() -> Result<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for file in migrations()? {
        file.file_name().map(Path::new).hash(&mut hasher);
        std::fs::read(&file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_changes_its_database_and_user_only() {
        let url = Url::parse("postgres://app:s%40cret@db.example:6432/main?sslmode=require").unwrap();
        assert_eq!(url.with(None, "other"), "postgres://app:s%40cret@db.example:6432/other?sslmode=require");
        assert_eq!(url.with(Some("onsale"), "other"), "postgres://onsale@db.example:6432/other?sslmode=require");
    }

    #[test]
    fn a_password_is_not_in_debug_output() {
        let url = Url::parse("postgres://app:secret@localhost/main").unwrap();
        assert_eq!(format!("{url:?}"), "postgres://localhost");
    }

    #[test]
    fn names_that_need_quotes_are_refused() {
        for name in ["", "1a", "a-b", "a;drop", "A", &"a".repeat(64)] {
            assert!(identifier(name).is_err(), "{name:?}");
        }
        assert!(identifier("test_1").is_ok());
    }
}
