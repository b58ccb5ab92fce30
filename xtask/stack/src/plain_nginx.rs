//! An nginx that serves files and knows nothing of Onsale: somebody else's site.

use anyhow::Result;

use crate::nginx::Nginx;
use crate::ports;
use crate::scratch::Scratch;

/// A plain web server on a free port. Dropping it stops it.
#[derive(Debug)]
pub struct PlainNginx {
    // Dropped in this order.
    _nginx: Nginx,
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
        .map(|(nginx, port)| Self { _nginx: nginx, port, _scratch: scratch })
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
