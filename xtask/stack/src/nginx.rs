//! A private nginx in front of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Launch, Process};
use crate::{ports, programs, wait};

const START_TIMEOUT: Duration = Duration::from_secs(15);
const WORKERS: u8 = 2;
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The project's configuration: what goes into nginx's `http` block.
pub fn template() -> Result<String> {
    let path = crate::project_root().join("nginx/nginx.conf.template");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Fills in the `${NAME}` placeholders of a template (upper case, digits and `_`). nginx's own
/// variables, `$name` and `${name}`, are left alone. The error names every placeholder that has
/// no value.
pub fn render(template: &str, values: &BTreeMap<&str, String>) -> Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut missing = BTreeSet::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        text.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name);
        let Some(name) = name.filter(|name| is_placeholder(name)) else {
            text.push_str("${");
            rest = after;
            continue;
        };
        match values.get(name) {
            Some(value) => text.push_str(value),
            None => {
                missing.insert(name);
            }
        }
        rest = after.get(name.len() + 1..).unwrap_or_default();
    }
    text.push_str(rest);
    if !missing.is_empty() {
        let names: Vec<&str> = missing.into_iter().collect();
        bail!("the nginx template's {} have no value", names.join(", "));
    }
    Ok(text)
}

fn is_placeholder(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// An nginx with a folder of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    port: u16,
}

impl Nginx {
    /// Checks the configuration (`nginx -t`), starts nginx and waits until it listens on
    /// 127.0.0.1:`port`. `http` is the content of the `http` block; files, pid and temporary
    /// folders go under `prefix`; its error log is `nginx.log` there.
    pub fn start(prefix: &Path, http: &str, port: u16) -> Result<Self> {
        Self::start_logging_to(prefix, http, port, &prefix.join("nginx.log"))
    }

    /// [`Nginx::start`] with another log file.
    pub fn start_logging_to(prefix: &Path, http: &str, port: u16, log: &Path) -> Result<Self> {
        Self::start_with(WORKERS, prefix, http, port, log)
    }

    /// [`Nginx::start`] with one worker process, for who measures what one does.
    pub fn start_with_one_worker(prefix: &Path, http: &str, port: u16) -> Result<Self> {
        Self::start_with(1, prefix, http, port, &prefix.join("nginx.log"))
    }

    fn start_with(workers: u8, prefix: &Path, http: &str, port: u16, log: &Path) -> Result<Self> {
        let program = programs::find("nginx").context("nginx is not installed")?;
        write_configuration(workers, prefix, http)?;
        check(&program, prefix)?;
        let process = Launch::new("nginx", &program, log)
            .args(arguments(prefix))
            .folder(prefix)
            .stop_signal(rustix::process::Signal::QUIT)
            // A killed master would leave its workers and their port behind.
            .orphan_signal("TERM")
            .start()?;
        let nginx = Self { process, port };
        nginx.wait_until_ready(prefix)?;
        Ok(nginx)
    }

    /// Renders the project's template with a free port and starts nginx on it. `values` gives
    /// everything but `LISTEN`.
    pub fn start_project(prefix: &Path, values: &BTreeMap<&str, String>) -> Result<Self> {
        let template = template()?;
        ports::with_port(None, |port| {
            let mut values = values.clone();
            values.insert("LISTEN", format!("127.0.0.1:{port}"));
            Self::start(prefix, &render(&template, &values)?, port)
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The master process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it after the requests under way, or after some seconds without mercy.
    pub fn stop(&self) {
        self.process.terminate(STOP_TIMEOUT);
    }

    fn wait_until_ready(&self, prefix: &Path) -> Result<()> {
        let own = self.process.pid().to_string();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        wait::until("nginx to listen", START_TIMEOUT, || {
            self.process.ensure_running()?;
            // Written once its listening sockets are open.
            let pid = std::fs::read_to_string(prefix.join("nginx.pid")).unwrap_or_default();
            let listens = pid.trim() == own && TcpStream::connect(address).is_ok();
            Ok(listens.then_some(()))
        })
    }
}

/// Whether nginx accepts `http` as the content of its `http` block; the error is its own message.
pub fn check_configuration(prefix: &Path, http: &str) -> Result<()> {
    let program = programs::find("nginx").context("nginx is not installed")?;
    write_configuration(WORKERS, prefix, http)?;
    check(&program, prefix)
}

fn check(program: &Path, prefix: &Path) -> Result<()> {
    programs::output(programs::command(program).args(arguments(prefix)).arg("-t"))
        .context("nginx refuses its configuration")?;
    Ok(())
}

fn arguments(prefix: &Path) -> Vec<PathBuf> {
    vec![
        "-p".into(),
        prefix.to_path_buf(),
        "-c".into(),
        prefix.join("nginx.conf"),
        // Before it has read its configuration it would write into the system's log.
        "-e".into(),
        "stderr".into(),
    ]
}

fn write_configuration(workers: u8, prefix: &Path, http: &str) -> Result<()> {
    std::fs::create_dir_all(prefix.join("temp"))?;
    std::fs::write(prefix.join("http.conf"), http)?;
    // Workers of a root nginx would become `nobody`, who can't enter root's home.
    let user = if programs::is_root() { "user root;" } else { "" };
    let main = format!(
        r"{user}
daemon off;
pid nginx.pid;
error_log stderr warn;
worker_processes {workers};
worker_rlimit_nofile 8192;
worker_shutdown_timeout 5s;
events {{
    worker_connections 4096;
}}
http {{
    types {{
        application/json json;
        text/html html;
    }}
    default_type application/octet-stream;
    # The services log one event per request; a second record of them would only fill the disk.
    access_log off;
    client_body_temp_path temp/client_body;
    proxy_temp_path temp/proxy;
    fastcgi_temp_path temp/fastcgi;
    uwsgi_temp_path temp/uwsgi;
    scgi_temp_path temp/scgi;
    include http.conf;
}}
"
    );
    std::fs::write(prefix.join("nginx.conf"), main)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn values() -> BTreeMap<&'static str, String> {
        BTreeMap::from([("LISTEN", "127.0.0.1:8080".to_owned()), ("RATE_1", "$9".to_owned())])
    }

    #[test]
    fn placeholders_are_filled_in_and_nginx_variables_are_not() {
        let text = render("listen ${LISTEN}; set $a ${RATE_1}; x ${host} $host ${} ${LISTEN} ${open", &values());
        assert_eq!(text.unwrap(), "listen 127.0.0.1:8080; set $a $9; x ${host} $host ${} 127.0.0.1:8080 ${open");
    }

    #[test]
    fn every_placeholder_without_a_value_is_named() {
        let error = render("${B} ${LISTEN} ${A} ${B}", &values()).unwrap_err();
        assert_eq!(error.to_string(), "the nginx template's A, B have no value");
    }

    #[test]
    fn nginx_answers_and_leaves_no_worker_behind() {
        let prefix = Scratch::new("nginx").unwrap();
        let nginx = ports::with_port(None, |port| {
            let http = format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 hello; }} }}");
            Nginx::start(prefix.path(), &http, port)
        })
        .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, nginx.port()));
        assert_eq!(crate::http::get(address, "/").unwrap(), (200, "hello".to_owned()));
        nginx.process().kill();
        assert!(wait::quietly(wait::PATIENCE, || ports::is_free(nginx.port())), "a worker still listens");
    }

    #[test]
    fn a_bad_configuration_is_refused_with_nginx_s_message() {
        let prefix = Scratch::new("nginx").unwrap();
        let error = check_configuration(prefix.path(), "nonsense;").unwrap_err();
        assert!(format!("{error:#}").contains("unknown directive \"nonsense\""), "{error:#}");
    }
}
