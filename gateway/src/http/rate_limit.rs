//! Who may do what how often.
//!
//! A request with a valid token counts against its user and nobody else, so a company or a campus behind one address is
//! not locked out. One without counts against the address, and so forging is dear for the forger only.
//!
//! Handlers say what they limit by what they take: [`Joining`], [`Polling`], [`Reserving`], [`SigningIn`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use common::clock::SharedClock;
use common::http::SignedIn;
use common::ids::UserId;
use common::problem::{ErrorCode, Problem};
use common::rate_limit::RateLimit;
use http::request::Parts;

use super::client_address::client_address;
use super::presented::Presented;
use super::state::AppState;
use super::telling;
use crate::config::ProtectedSite;
use crate::rate_limits::RateLimits;

/// What this process counts. Cloning it shares the counts.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    joins: RateLimit<UserId>,
    polls: RateLimit<UserId>,
    reservations: RateLimit<UserId>,
    logins: RateLimit<Network>,
    unverified: RateLimit<Network>,
}

impl Counts {
    /// Nobody has done anything yet.
    pub(super) fn new(limits: &RateLimits, clock: &SharedClock) -> Self {
        Self {
            joins: RateLimit::new(limits.joins_per_user, clock),
            polls: RateLimit::new(limits.polls_per_user, clock),
            reservations: RateLimit::new(limits.reservations_per_user, clock),
            logins: RateLimit::new(limits.logins_per_address, clock),
            unverified: RateLimit::new(limits.unverified_per_address, clock),
        }
    }

    /// Forgets who could do as much as somebody new.
    pub(super) fn forget(&self) {
        self.joins.forget();
        self.polls.forget();
        self.reservations.forget();
        self.logins.forget();
        self.unverified.forget();
    }

    /// How many users and addresses are remembered, over all limits.
    pub(super) fn remembered(&self) -> usize {
        let users = self.joins.keys() + self.polls.keys() + self.reservations.keys();
        users + self.logins.keys() + self.unverified.keys()
    }
}

/// Somebody who may join now: a signed-in user, or where people wait without accounts, whoever comes. They are who their
/// queue token says; who has none is somebody new, and new people count against their address.
#[derive(Debug)]
pub(super) struct Joining(pub(super) UserId);

impl FromRequestParts<AppState> for Joining {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        if state.config.site.as_ref().is_some_and(|site| site.anonymous) {
            let Ok(presented) = Presented::from_request_parts(parts, state).await else {
                state.counts.unverified.check(&Network::of_client(parts, state)?)?;
                return Ok(Self(UserId::generate()));
            };
            state.counts.joins.check(&presented.user())?;
            return Ok(Self(presented.user()));
        }
        let signed_in: SignedIn = verified(parts, state).await?;
        state.counts.joins.check(&signed_in.user)?;
        Ok(Self(signed_in.user))
    }
}

/// Who asks for what is protected of a site: a signed-in user, `None` where people have no accounts there; if they may
/// now.
pub(super) async fn protected_bearer(
    parts: &mut Parts,
    state: &AppState,
    site: &ProtectedSite,
) -> Result<Option<UserId>, Problem> {
    if !site.anonymous {
        let Reserving(signed_in) = Reserving::from_request_parts(parts, state).await?;
        return Ok(Some(signed_in.user));
    }
    let presented: Presented = verified(parts, state).await.map_err(|refusal| match refusal.code() {
        // Who has no token has not been admitted: that is what they have to be told.
        ErrorCode::MissingQueueToken => ErrorCode::NotAdmitted.into(),
        _ => refusal,
    })?;
    state.counts.reservations.check(&presented.user())?;
    Ok(None)
}

/// The bearer of a queue token who may leave now: whoever joins and leaves in turn does both against one limit.
#[derive(Debug)]
pub(super) struct Leaving(pub(super) Presented);

impl FromRequestParts<AppState> for Leaving {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let presented: Presented = verified(parts, state).await?;
        state.counts.joins.check(&presented.user())?;
        Ok(Self(presented))
    }
}

/// The bearer of a queue token who may ask now. Who asks too often is refused, and is there all the same.
#[derive(Debug)]
pub(super) struct Polling(pub(super) Presented);

impl FromRequestParts<AppState> for Polling {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let presented: Presented = verified(parts, state).await?;
        state.counts.polls.check(&presented.user()).inspect_err(|too_often| {
            telling::note_refused(state, &presented, too_often.wait);
        })?;
        Ok(Self(presented))
    }
}

/// A signed-in user who may try to reserve now.
#[derive(Debug)]
pub(super) struct Reserving(pub(super) SignedIn);

impl FromRequestParts<AppState> for Reserving {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let signed_in: SignedIn = verified(parts, state).await?;
        state.counts.reservations.check(&signed_in.user)?;
        Ok(Self(signed_in))
    }
}

/// Somebody at an address from which logging in and signing up may be tried now.
#[derive(Debug)]
pub(super) struct SigningIn;

impl FromRequestParts<AppState> for SigningIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        state.counts.logins.check(&Network::of_client(parts, state)?)?;
        Ok(Self)
    }
}

/// Credentials that verify. Where they do not, that counts against the address.
async fn verified<C>(parts: &mut Parts, state: &AppState) -> Result<C, Problem>
where
    C: FromRequestParts<AppState, Rejection = Problem>,
{
    match C::from_request_parts(parts, state).await {
        Ok(credentials) => Ok(credentials),
        Err(refusal) => {
            state.counts.unverified.check(&Network::of_client(parts, state)?)?;
            Err(refusal)
        }
    }
}

/// What one address stands for: an IPv4 address, or an IPv6 network of 64 bits, the least that a subscriber is given, who
/// may use any address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    /// Of the client that sent the request: as the proxy in front says, not the client itself.
    fn of_client(parts: &Parts, state: &AppState) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let ConnectInfo(peer) = peer.ok_or_else(|| Problem::new(ErrorCode::Internal).because("no peer address"))?;
        Ok(Self::of(client_address(&parts.headers, *peer, &state.config.trusted_proxies)))
    }

    fn of(address: IpAddr) -> Self {
        const HOST_BITS: u32 = 64;
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> HOST_BITS << HOST_BITS).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_stands_for_itself_and_an_ipv6_address_for_its_network() {
        let network = |address: &str| Network::of(address.parse().unwrap());
        assert_ne!(network("203.0.113.1"), network("203.0.113.2"));
        assert_eq!(network("203.0.113.1"), network("::ffff:203.0.113.1"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("::ffff:203.0.113.1"), network("::ffff:203.0.113.2"));
    }
}
