//! Secrets for a new installation, and new ones for a running site.

mod env_file;
mod rotation;

pub use env_file::ListError;
pub use rotation::{KeyList, RotationError, Step, rotate};

use common::tokens::generate_pass_key;

/// New secrets as lines of `NAME=value`, fit for an environment file. Whoever runs this keeps them; nothing else does.
pub fn generate() -> anyhow::Result<String> {
    let (private, public) = generate_pass_key()?;
    // Another key's seed is as good a secret as any: 32 random bytes in base64url.
    let (session, _) = generate_pass_key()?;
    let (ticket, _) = generate_pass_key()?;
    let (entry_ticket, _) = generate_pass_key()?;
    Ok(format!(
        "SESSION_SECRET={session}\nTICKET_SECRET={ticket}\nPASS_PRIVATE_KEYS={private}\nPASS_PUBLIC_KEYS={public}\n\
         ENTRY_TICKET_PRIVATE_KEYS={entry_ticket}\n"
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_line_is_a_different_secret() {
        let text = super::generate().unwrap();
        let values: std::collections::HashSet<&str> =
            text.lines().filter_map(|line| line.split_once('=')).map(|(_, value)| value).collect();
        assert_eq!(values.len(), 5);
        assert!(values.iter().all(|value| value.len() == 43));
    }
}
