//! `cargo xtask sqlx-prepare`: descriptions of all queries that are checked at compile time, made
//! with a private PostgreSQL.
//!
//! It does what `cargo sqlx prepare` does, without that tool: sqlx's macros, told to ask a
//! database, write what they learned into `SQLX_OFFLINE_DIR`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use stack::postgres::{Postgres, PostgresOptions, PostgresServer, migrations};
use stack::process::Foreground;
use stack::scratch::Scratch;

use crate::ui;

/// Rewrite `.sqlx/`, the descriptions that SQL is checked against at compile time.
///
/// Starts a private PostgreSQL, applies all migrations and has sqlx's macros ask it about every
/// query. Commit the result.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Change nothing; fail when `.sqlx/` is not what it would be
    #[arg(long)]
    check: bool,
}

/// File name → content.
type Descriptions = BTreeMap<String, String>;

pub(crate) fn run(options: &Options) -> Result<()> {
    ui::install(&[stack::install::Tool::Postgres])?;
    let postgres = Postgres::start(&PostgresOptions::default())?;
    let fresh = describe(postgres.server(), Scope::Packages)?;
    let folder = stack::project_root().join(".sqlx");
    if options.check {
        compare(&read(&folder)?, &fresh)?;
        ui::say(&format!(".sqlx is up to date (queries: {})", fresh.len()));
    } else {
        replace(&folder, &fresh)?;
        ui::say(&format!(".sqlx written (queries: {})", fresh.len()));
    }
    Ok(())
}

/// Fails unless `.sqlx/` describes exactly the queries of the code, as that server's PostgreSQL
/// understands them after all migrations.
pub(crate) fn check(server: &PostgresServer) -> Result<()> {
    compare(&read(&stack::project_root().join(".sqlx"))?, &describe(server, Scope::Workspace)?)
}

/// What is compiled to run the macros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Only what has queries, so that it works while other packages do not compile.
    Packages,
    /// Everything, so that dependencies have the features, and so the artefacts, of the other
    /// steps of `cargo xtask test`.
    Workspace,
}

fn describe(server: &PostgresServer, scope: Scope) -> Result<Descriptions> {
    let database = server.fresh_database("sqlx_prepare", |url| server.apply(url, &migrations()?))?;
    let packages = packages_with_queries()?;
    if packages.is_empty() {
        return Ok(Descriptions::new());
    }
    let folder = Scratch::new("sqlx")?;
    let log = folder.path().join("cargo.log");
    let mut command = crate::cargo();
    command
        .args(["check", "--quiet", "--all-targets"])
        .current_dir(stack::project_root())
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", folder.path())
        .env("DATABASE_URL", database.url());
    match scope {
        Scope::Workspace => {
            // Warnings are another step's; errors are shown below.
            command.arg("--workspace").stderr(fs::File::create(&log)?);
        }
        Scope::Packages => {
            command.args(packages.iter().flat_map(|package| ["--package", &package.name]));
        }
    }
    let _touched = Touched::all(&packages)?;
    let status = Foreground::start(&mut command)?.wait()?;
    if !status.success() {
        ui::say(&fs::read_to_string(&log).unwrap_or_default());
        bail!("the code does not compile with the migrated database (see above)");
    }
    read(folder.path())
}

struct Package {
    name: String,
    folder: PathBuf,
}

impl Package {
    /// The files that the package's crates begin with.
    fn crate_roots(&self) -> Vec<PathBuf> {
        let mut roots = vec![self.folder.join("src/lib.rs"), self.folder.join("src/main.rs")];
        for folder in ["tests", "src/bin", "benches", "examples"] {
            let entries = fs::read_dir(self.folder.join(folder)).into_iter().flatten();
            for path in entries.flatten().map(|entry| entry.path()) {
                roots.extend([path.join("main.rs"), path]);
            }
        }
        roots.retain(|file| file.is_file());
        roots
    }
}

/// Files that look changed to cargo, which does not know that sqlx's answers depend on a database.
/// Dropped, they look as before, so that other commands have nothing to build again.
struct Touched {
    at: SystemTime,
    before: Vec<(PathBuf, SystemTime)>,
}

impl Touched {
    fn all(packages: &[Package]) -> Result<Self> {
        let mut touched = Self { at: SystemTime::now(), before: Vec::new() };
        for file in packages.iter().flat_map(Package::crate_roots) {
            touched.before.push((file.clone(), fs::metadata(&file)?.modified()?));
            set_modified(&file, touched.at).with_context(|| file.display().to_string())?;
        }
        Ok(touched)
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        for (file, time) in &self.before {
            // Somebody may have edited it meanwhile.
            let untouched = fs::metadata(file).and_then(|meta| meta.modified()).is_ok_and(|time| time == self.at);
            if untouched {
                // At worst cargo builds it again.
                let _ = set_modified(file, *time);
            }
        }
    }
}

fn set_modified(file: &Path, time: SystemTime) -> std::io::Result<()> {
    fs::File::options().write(true).open(file)?.set_modified(time)
}

/// The workspace's packages whose code has queries that are checked at compile time.
fn packages_with_queries() -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(stack::project_root())? {
        let folder = entry?.path();
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let name = manifest.lines().find_map(|line| {
            let value = line.strip_prefix("name")?.trim_start().strip_prefix('=')?;
            Some(value.trim().trim_matches('"').to_owned())
        });
        if let Some(name) = name
            && (has_queries(&folder.join("src"))? || has_queries(&folder.join("tests"))?)
        {
            packages.push(Package { name, folder });
        }
    }
    Ok(packages)
}

fn has_queries(folder: &Path) -> Result<bool> {
    const MACROS: [&str; 4] = ["query!(", "query_as!(", "query_scalar!(", "query_file"];
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_queries(&path)?
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            text.contains("sqlx") && MACROS.iter().any(|name| text.contains(name))
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(folder: &Path) -> Result<Descriptions> {
    let mut found = Descriptions::new();
    // A project without queries has no folder.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| name.starts_with("query-")) {
            found.insert(name.to_owned(), fs::read_to_string(&path)?);
        }
    }
    Ok(found)
}

fn compare(committed: &Descriptions, fresh: &Descriptions) -> Result<()> {
    let missing = fresh.keys().filter(|name| !committed.contains_key(*name)).count();
    let stale = committed.keys().filter(|name| !fresh.contains_key(*name)).count();
    let changed = fresh.iter().filter(|(name, text)| committed.get(*name).is_some_and(|other| other != *text)).count();
    ensure!(
        missing + stale + changed == 0,
        ".sqlx is not up to date ({missing} missing, {stale} no longer used, {changed} changed): \
         run `cargo xtask sqlx-prepare`"
    );
    Ok(())
}

fn replace(folder: &Path, fresh: &Descriptions) -> Result<()> {
    fs::create_dir_all(folder)?;
    for name in read(folder)?.keys().filter(|name| !fresh.contains_key(*name)) {
        fs::remove_file(folder.join(name))?;
    }
    for (name, text) in fresh {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptions(pairs: &[(&str, &str)]) -> Descriptions {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_comparison_counts_each_kind_of_difference() {
        let committed = descriptions(&[("query-a", "1"), ("query-b", "1"), ("query-c", "1")]);
        let fresh = descriptions(&[("query-b", "1"), ("query-c", "2"), ("query-d", "1")]);
        let error = compare(&committed, &fresh).unwrap_err().to_string();
        assert!(error.contains("(1 missing, 1 no longer used, 1 changed)"), "{error}");
        assert!(compare(&fresh, &fresh).is_ok());
    }

    #[test]
    fn replacing_removes_what_is_no_longer_used() {
        let folder = Scratch::new("replace").unwrap();
        let old = descriptions(&[("query-a.json", "1"), ("query-b.json", "1")]);
        let new = descriptions(&[("query-b.json", "2")]);
        replace(folder.path(), &old).unwrap();
        replace(folder.path(), &new).unwrap();
        assert_eq!(read(folder.path()).unwrap(), new);
    }
}
