//! An nginx that serves files and knows nothing of Onsale: somebody else's site.

use anyhow::Result;

use crate::nginx::Nginx;
use crate::ports;
use crate::scratch::Scratch;

/// A plain web server on a free port. Dropping it stops it.
#[derive(Debug)]
pub struct PlainNginx {
    // Dropped in this order.
    nginx: Nginx,
    port: u16,
    _scratch: Scratch,
}

impl PlainNginx {
    /// Serves these files, by path below `/` and content.
    pub fn start(files: &[(&str, &str)]) -> Result<Self> {
        let scratch = Scratch::new("site")?;
        let root = scratch.path().join("root");
        for (path, content) in files {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap_or(&root))?;
            std::fs::write(file, content)?;
        }
        ports::with_port(None, |port| {
            let http = format!(
                "access_log off; server {{ listen 127.0.0.1:{port}; root {}; index index.html; }}",
                root.display()
            );
            let nginx = Nginx::start(scratch.path(), &http, port)?;
            Ok((nginx, port))
        })
        .map(|(nginx, port)| Self { nginx, port, _scratch: scratch })
    }

    /// Answers every request with what the `location` block says, from one worker process, at its best: for who
    /// measures what nginx can do.
    pub fn start_ceiling(location: &str) -> Result<Self> {
        let scratch = Scratch::new("ceiling")?;
        let (nginx, port) = ports::with_port(None, |port| {
            let http = format!(
                "keepalive_requests 1000000000; sendfile on; tcp_nopush on; open_file_cache max=10;
                 server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {location} }} }}"
            );
            Ok((Nginx::start_with_one_worker(scratch.path(), &http, port)?, port))
        })?;
        Ok(Self { nginx, port, _scratch: scratch })
    }

    /// The nginx itself.
    pub fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
