//! Whom an attempt is counted against, when all that is known is where it came from.

use std::net::{IpAddr, Ipv4Addr};

/// An IPv4 address, or the first half of an IPv6 address: whoever has one address of that has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// All of it.
    V4(Ipv4Addr),
    /// The network.
    V6(u64),
    /// It is not known.
    Unknown,
}

impl Source {
    /// That of an address.
    #[must_use]
    pub fn of(address: Option<IpAddr>) -> Source {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Source::V4(address),
            Some(IpAddr::V6(address)) => {
                Source::V6(u64::try_from(u128::from(address) >> 64).expect("64 bits are left"))
            }
            None => Source::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_network_is_one_and_an_ipv4_address_is_itself_however_it_is_written() {
        let of = |text: &str| Source::of(Some(text.parse().unwrap()));
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(Source::of(None), Source::Unknown);
    }
}
