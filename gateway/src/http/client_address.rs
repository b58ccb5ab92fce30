//! Which address a client has.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The header in which the proxy in front says it.
pub(super) const REAL_IP_HEADER: HeaderName = HeaderName::from_static("x-real-ip");

/// The address that a trusted proxy names, else the peer's own: whoever is not trusted can claim what they like.
pub(super) fn client_address(headers: &HeaderMap, peer: SocketAddr, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.ip().to_canonical();
    let named = || headers.get(REAL_IP_HEADER)?.to_str().ok()?.trim().parse::<IpAddr>().ok();
    if trusted.iter().any(|network| network.contains(&peer)) { named().unwrap_or(peer) } else { peer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let headers: HeaderMap = [(REAL_IP_HEADER, "203.0.113.7".parse().unwrap())].into_iter().collect();
        let address =
            |peer: &str, headers: &HeaderMap| client_address(headers, peer.parse().unwrap(), &trusted).to_string();
        assert_eq!(address("10.1.2.3:5", &headers), "203.0.113.7");
        assert_eq!(address("[::ffff:10.1.2.3]:5", &headers), "203.0.113.7");
        assert_eq!(address("192.0.2.1:5", &headers), "192.0.2.1");
        assert_eq!(address("10.1.2.3:5", &HeaderMap::new()), "10.1.2.3");
        let nonsense: HeaderMap = [(REAL_IP_HEADER, "localhost".parse().unwrap())].into_iter().collect();
        assert_eq!(address("10.1.2.3:5", &nonsense), "10.1.2.3");
    }
}
