//! Where webhooks may lead: not into our own network.
//!
//! An URL is judged by its text when it is subscribed, and each address that its host stands for is judged again
//! whenever it is connected to: a name may stand for something else by then.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;
use ipnet::IpNet;

/// The longest URL.
const MAX_URL_LEN: usize = 2_048;

/// Networks that are nobody's public address (IANA's special-purpose registries), IPv4.
const SPECIAL: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// The same of IPv6, within what is handed out at all; the transition networks hold IPv4 addresses that are not looked
/// at.
const HANDED_OUT: &str = "2000::/3";
const SPECIAL_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// Why an URL is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// It is none, or too long, or has a user or a fragment in it.
    Malformed,
    /// Plain http, and that is not allowed.
    NotHttps,
    /// It names an address that is not public.
    Private,
}

/// Which URLs webhooks may have.
#[derive(Debug, Clone)]
pub struct TargetRules {
    allow_http: bool,
    allowed: Vec<IpNet>,
    special: Vec<IpNet>,
    handed_out: Vec<IpNet>,
}

impl TargetRules {
    /// https to public addresses; with `allow_http` plain http too, and addresses of `allowed` wherever they are.
    pub fn new(allow_http: bool, allowed: Vec<IpNet>) -> Self {
        let read = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Self {
            allow_http,
            allowed,
            special: [read(&SPECIAL), read(&SPECIAL_V6)].concat(),
            handed_out: read(&["0.0.0.0/0", HANDED_OUT]),
        }
    }

    /// Reads an URL that webhooks may have.
    pub fn read(&self, url: &str) -> Result<Uri, TargetError> {
        if url.len() > MAX_URL_LEN || url.contains(['#', '\\']) {
            return Err(TargetError::Malformed);
        }
        let uri: Uri = url.parse().map_err(|_| TargetError::Malformed)?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(TargetError::Malformed);
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(TargetError::Malformed)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => {}
            Some(scheme) if *scheme == Scheme::HTTP && self.allow_http => {}
            Some(scheme) if *scheme == Scheme::HTTP => return Err(TargetError::NotHttps),
            _ => return Err(TargetError::Malformed),
        }
        match literal(host) {
            Some(address) if !self.allows(address) => Err(TargetError::Private),
            _ => Ok(uri),
        }
    }

    /// Whether an address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6's clothes leads to that IPv4 address.
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        within(&self.allowed) || (within(&self.handed_out) && !within(&self.special))
    }
}

/// The address that a host is, where it is no name.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict() -> TargetRules {
        TargetRules::new(false, Vec::new())
    }

    #[test]
    fn every_special_network_is_read() {
        assert_eq!(strict().special.len(), SPECIAL.len() + SPECIAL_V6.len());
        assert_eq!(strict().handed_out.len(), 2);
    }

    #[test]
    fn only_public_addresses_are_connected_to() {
        for public in ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(strict().allows(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!strict().allows(private.parse().unwrap()), "{private}");
        }
        let ours = TargetRules::new(false, vec!["10.9.0.0/16".parse().unwrap()]);
        assert!(ours.allows("10.9.1.1".parse().unwrap()) && ours.allows("::ffff:10.9.1.1".parse().unwrap()));
        assert!(!ours.allows("10.8.1.1".parse().unwrap()));
    }

    #[test]
    fn urls_are_judged_by_their_text_first() {
        assert!(strict().read("https://hooks.example.com:8443/@onsale?site=1").is_ok());
        for (url, error) in [
            ("", TargetError::Malformed),
            ("hooks.example.com", TargetError::Malformed),
            ("/hooks", TargetError::Malformed),
            ("ftp://hooks.example.com/", TargetError::Malformed),
            ("https://user:secret@hooks.example.com/", TargetError::Malformed),
            ("https://hooks.example.com/#part", TargetError::Malformed),
            ("https://1.1.1.1\\@127.0.0.1/", TargetError::Malformed),
            ("https:///path", TargetError::Malformed),
            ("http://hooks.example.com/", TargetError::NotHttps),
            ("https://127.0.0.1/", TargetError::Private),
            ("https://[::1]/", TargetError::Private),
            ("https://[::ffff:10.0.0.1]:8443/", TargetError::Private),
            ("https://169.254.169.254/latest/meta-data", TargetError::Private),
        ] {
            assert_eq!(strict().read(url).err(), Some(error), "{url}");
        }
        assert_eq!(strict().read(&format!("https://a/{}", "x".repeat(2_048))).err(), Some(TargetError::Malformed));
        let local = TargetRules::new(true, vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(local.read("http://127.0.0.1:9/").is_ok() && local.read("http://10.0.0.1/").is_err());
    }
}
