//! Only one stack at a time has its data here.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

pub(super) const FILE_NAME: &str = "up.lock";

/// A lock that ends with this process, however that ends. The file holds the process id of its
/// owner until an orderly end.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    left_behind: bool,
}

impl Lock {
    /// Takes the lock of the data folder, which is made if need be.
    pub(super) fn take(data: &Path) -> Result<Self> {
        super::make_folder(data, super::DATA_MODE)?;
        let path = data.join(FILE_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        let locked = file.try_lock();
        let mut owner = String::new();
        file.read_to_string(&mut owner)?;
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another `cargo xtask up` is running here (process {0}): stop it with Ctrl-C in its terminal or `kill {0}`",
                owner.trim()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| path.display().to_string());
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { file, left_behind: !owner.trim().is_empty() })
    }

    /// Whether the owner before was killed: its servers may take a moment to follow it.
    pub(super) fn was_left_behind(&self) -> bool {
        self.left_behind
    }

    /// The end was orderly.
    pub(super) fn release(self) {
        // At worst the next start waits for servers that are long gone.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::scratch::Scratch;

    /// A child that another test is starting may hold a copy of a closed file for a moment.
    fn take_soon(data: &Path) -> Lock {
        stack::wait::until("the lock", std::time::Duration::from_secs(10), || Ok(Lock::take(data).ok())).unwrap()
    }

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let folder = Scratch::new("lock").unwrap();
        let first = Lock::take(folder.path()).unwrap();
        assert!(!first.was_left_behind());
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        first.release();
        assert!(!take_soon(folder.path()).was_left_behind());
    }

    #[test]
    fn a_killed_owner_is_noticed() {
        let folder = Scratch::new("lock").unwrap();
        drop(Lock::take(folder.path()).unwrap());
        assert!(take_soon(folder.path()).was_left_behind());
    }
}
