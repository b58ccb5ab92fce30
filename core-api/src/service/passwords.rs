//! Password hashing: argon2id on a bounded pool, so that a rush of logins slows down logins and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

/// A hash is computed by one thread.
const LANES: u32 = 1;
/// The longest that anyone waits for their turn: well within the time that a request may take. Who would wait longer is
/// told to come back, at once where that can be foreseen.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What hashing a password takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    /// Memory.
    pub memory_kib: u32,
    /// How often it is gone through.
    pub passes: u32,
}

impl HashCost {
    /// OWASP's minimum for argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
    pub const LEAST: Self = Self { memory_kib: 19_456, passes: 2 };
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many wait already; there may be room after this time.
    #[error("too many passwords wait to be hashed")]
    Busy(Duration),
    /// Hashing itself failed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

/// The pool.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// One per core.
    running: Arc<Semaphore>,
    cores: usize,
    /// Running and waiting together.
    admitted: Arc<Semaphore>,
    queue_len: usize,
    /// What a hash takes of late, in microseconds.
    hash_us: Arc<AtomicU64>,
    /// How many jobs were run.
    jobs: Arc<AtomicU64>,
    cost: HashCost,
    /// What is verified where there is no account: the same work as for one that exists.
    nobodys_hash: Arc<str>,
}

impl Passwords {
    /// A pool over all cores with at most `queue_len` jobs waiting.
    pub fn new(queue_len: usize, cost: HashCost) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let started = Instant::now();
        let nobodys_hash =
            hash("nobody's password", cost).map_err(anyhow::Error::msg).context("argon2 does not work")?;
        Ok(Self {
            running: Arc::new(Semaphore::new(cores)),
            cores,
            admitted: Arc::new(Semaphore::new(cores + queue_len)),
            queue_len,
            hash_us: Arc::new(AtomicU64::new(micros(started.elapsed()))),
            jobs: Arc::default(),
            cost,
            nobodys_hash: nobodys_hash.into(),
        })
    }

    /// The hash of a new password, a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String, HashError> {
        let (password, cost) = (password.to_owned(), self.cost);
        self.run(move || hash(&password, cost)).await?.map_err(HashError::Failed)
    }

    /// The same, where there is nothing else to do: what can wait keeps nobody waiting.
    pub async fn hash_at_leisure(&self, password: &str) -> Result<String, HashError> {
        if self.running.available_permits() == 0 {
            return Err(HashError::Busy(self.expected_wait()));
        }
        self.hash(password).await
    }

    /// Whether `password` is the one with this hash; `None` is nobody's, which is never right and takes as long.
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, HashError> {
        let password = password.to_owned();
        let exists = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| Arc::clone(&self.nobodys_hash), Into::into);
        let right = self.run(move || verify(&password, &hash)).await?.map_err(HashError::Failed)?;
        Ok(right && exists)
    }

    /// Whether a hash was made at another cost than passwords are hashed at now.
    pub fn is_outdated(&self, hash: &str) -> bool {
        cost_of(hash) != Some(self.cost)
    }

    /// What is verified where there is no account.
    pub fn nobodys_hash(&self) -> &str {
        &self.nobodys_hash
    }

    /// How many passwords were hashed or verified.
    pub fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Runs a job when its turn comes. One whose requester has gone before that is never run.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let expected = self.expected_wait();
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| HashError::Busy(expected))?;
        if expected > MAX_WAIT {
            return Err(HashError::Busy(expected));
        }
        let failed = |error: &dyn std::fmt::Display| HashError::Failed(error.to_string());
        let turn = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.running).acquire_owned())
            .await
            .map_err(|_| HashError::Busy(expected))?
            .map_err(|error| failed(&error))?;
        let (hash_us, jobs) = (Arc::clone(&self.hash_us), Arc::clone(&self.jobs));
        tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            jobs.fetch_add(1, Ordering::Relaxed);
            let result = job();
            // One in eight is the newest: a single slow one says little. A lost update between two threads says less.
            let before = hash_us.load(Ordering::Relaxed);
            hash_us.store(before - before / 8 + micros(started.elapsed()) / 8, Ordering::Relaxed);
            // Held by the work itself: a requester who goes now does not make room that is not there.
            drop((turn, admitted));
            result
        })
        .await
        .map_err(|error| failed(&error))
    }

    /// How long who comes now waits for a turn, at least a second.
    fn expected_wait(&self) -> Duration {
        let ahead = (self.cores + self.queue_len).saturating_sub(self.admitted.available_permits());
        let rounds = u64::try_from(ahead / self.cores).unwrap_or(u64::MAX);
        Duration::from_micros(rounds.saturating_mul(self.hash_us.load(Ordering::Relaxed)))
            .clamp(Duration::from_secs(1), Duration::from_mins(1))
    }
}

fn argon2(cost: HashCost) -> Result<Argon2<'static>, String> {
    let params = Params::new(cost.memory_kib, cost.passes, LANES, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str, cost: HashCost) -> Result<String, String> {
    argon2(cost)?.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// By the parameters that the hash itself names.
fn verify(password: &str, hash: &str) -> Result<bool, String> {
    let parsed = PasswordHash::new(hash).map_err(|error| error.to_string())?;
    match argon2(HashCost::LEAST)?.verify_password(password.as_bytes(), &parsed) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// At what cost a hash was made; `None` for one of another kind.
fn cost_of(hash: &str) -> Option<HashCost> {
    let parsed = PasswordHash::new(hash).ok()?;
    let is_ours = parsed.algorithm.as_str() == "argon2id" && parsed.version == Some(Version::V0x13.into());
    let params = Params::try_from(&parsed).ok().filter(|params| is_ours && params.p_cost() == LANES)?;
    Some(HashCost { memory_kib: params.m_cost(), passes: params.t_cost() })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_an_account_is_right() {
        let passwords = Passwords::new(8, HashCost::LEAST).unwrap();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple", Some(hash)).await.unwrap());
        assert!(!passwords.verify("nobody's password", None).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_verified_and_outdated() {
        let dearer = HashCost { passes: 3, ..HashCost::LEAST };
        let (before, now) = (Passwords::new(8, HashCost::LEAST).unwrap(), Passwords::new(8, dearer).unwrap());
        let old = before.hash("correct horse").await.unwrap();
        assert!(now.verify("correct horse", Some(old.clone())).await.unwrap());
        assert!(!now.verify("battery staple", Some(old.clone())).await.unwrap());
        assert!(now.is_outdated(&old) && !before.is_outdated(&old));
        let new = now.hash("correct horse").await.unwrap();
        assert!(new.contains("t=3") && !now.is_outdated(&new), "{new}");
        assert!(now.is_outdated("$argon2i$v=19$m=19456,t=3,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b0dWRWJTmaaJObG"));
        assert_eq!(now.jobs(), 3);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_who_left_is_skipped() {
        let passwords = Passwords::new(1, HashCost::LEAST).unwrap();
        let all = u32::try_from(passwords.cores).unwrap();
        let busy = Arc::clone(&passwords.running).acquire_many_owned(all).await.unwrap();
        let held: Vec<_> =
            (0..passwords.cores).map(|_| Arc::clone(&passwords.admitted).try_acquire_owned().unwrap()).collect();
        let mut waiting = Box::pin(passwords.run(|| panic!("the requester has gone")));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(matches!(passwords.hash("x").await, Err(HashError::Busy(wait)) if wait >= Duration::from_secs(1)));
        drop::<std::pin::Pin<Box<dyn Future<Output = Result<(), HashError>>>>>(waiting);
        drop((busy, held));
        assert_eq!(passwords.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_at_once_and_when_to_come_back() {
        let passwords = Passwords::new(1_000, HashCost::LEAST).unwrap();
        passwords.hash_us.store(1_000_000, Ordering::Relaxed);
        let ahead = passwords.cores * 20;
        let _waiting: Vec<_> =
            (0..ahead).map(|_| Arc::clone(&passwords.admitted).try_acquire_owned().unwrap()).collect();
        let refused = passwords.run(|| panic!("must not run")).await;
        assert!(
            matches!(refused, Err::<(), _>(HashError::Busy(wait)) if wait == Duration::from_secs(20)),
            "{refused:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_request_may_take() {
        let passwords = Passwords::new(10, HashCost::LEAST).unwrap();
        let all = u32::try_from(passwords.cores).unwrap();
        let _busy = Arc::clone(&passwords.running).acquire_many_owned(all).await.unwrap();
        assert!(matches!(passwords.run(|| 7).await, Err(HashError::Busy(_))));
    }
}
