//! Which addresses are on the public internet.
//!
//! The tables are IANA's special-purpose registries (RFC 6890) with multicast, the reserved blocks, and what carries an
//! IPv4 address inside IPv6. They are ours, since `IpAddr::is_global` is not stable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: u16, second: u16, third: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), length)
}

/// IPv4 that is not public.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // shared by a carrier's customers
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // Azure's platform, which answers its own guests only
    v4(169, 254, 0, 0, 16),   // link local, with the clouds' metadata services
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, and broadcast
];

/// The only block that IANA hands out for the public internet. Outside of it are `::`, `::1`, IPv4 in its mapped and
/// compatible forms, NAT64, discard-only, segment routing, unique local, link local, site local and multicast.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Inside of it, what is not public.
const SPECIAL_V6: &[Ipv6Net] = &[
    v6(0x2001, 0, 0, 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    v6(0x2001, 0xdb8, 0, 32), // documentation
    v6(0x2002, 0, 0, 16),     // 6to4
    v6(0x3ffe, 0, 0, 16),     // 6bone, given back
    v6(0x3fff, 0, 0, 20),     // documentation
];

const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const NAT64_LOCAL: Ipv6Net = v6(0x64, 0xff9b, 1, 48);

/// Whether `address` is one of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// Whether `address` is public, or of one of the `allowed` networks. An IPv4 address inside an allowed IPv6 one has to
/// pass by itself: whoever allows NAT64 did not allow 127.0.0.1.
pub(super) fn is_permitted(address: IpAddr, allowed: &[IpNet]) -> bool {
    if is_public(address) {
        return true;
    }
    allowed.iter().any(|net| net.contains(&address))
        && embedded_v4(address).into_iter().flatten().all(|inner| {
            let inner = IpAddr::V4(inner);
            is_public(inner) || allowed.iter().any(|net| net.contains(&inner))
        })
}

/// The IPv4 addresses that packets to `address` end at, where its form says so.
fn embedded_v4(address: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(address) = address else { return [None, None] };
    if address.is_loopback() || address.is_unspecified() {
        return [None, None];
    }
    let join = |high, low| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    let [_, first, second, third, .., high, low]: [u16; 8] = address.segments();
    // `to_ipv4` reads the mapped and the compatible form
    if let Some(inner) = address.to_ipv4() {
        return [Some(inner), None];
    }
    if NAT64.contains(&address) || NAT64_LOCAL.contains(&address) {
        return [Some(join(high, low)), None];
    }
    if SIX_TO_FOUR.contains(&address) {
        return [Some(join(first, second)), None];
    }
    if TEREDO.contains(&address) {
        // RFC 4380 §4: the server, and the client with its bits turned over
        return [Some(join(second, third)), Some(join(!high, !low))];
    }
    [None, None]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every form in which an IPv6 address carries an IPv4 one.
    fn forms(inner: Ipv4Addr) -> [IpAddr; 7] {
        let [a, b, c, d] = inner.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        [
            IpAddr::V4(inner),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low).into(), // mapped
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low).into(),      // compatible
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into(), // 6to4
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(), // NAT64
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low).into(), // NAT64, local prefix
            Ipv6Addr::new(0x2001, 0, 0x5db8, 0xd822, 0, 0, !high, !low).into(), // Teredo, through a public server
        ]
    }

    #[test]
    fn every_special_network_is_refused_to_its_edges_and_not_beyond() {
        let cases = [
            // network, just before, just behind
            ("0.0.0.0/8", None, Some("1.0.0.0")),
            ("10.0.0.0/8", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0/10", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0/8", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16/32", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0/16", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0/12", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0/24", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0/24", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.88.99.0/24", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0/16", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0/15", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0/24", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0/24", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0/4", Some("223.255.255.255"), None),
            ("240.0.0.0/4", None, None),
            ("::/128", None, None),
            ("::1/128", None, None),
            ("::/96", None, None),
            ("::ffff:0:0/96", None, None),
            ("64:ff9b::/96", None, None),
            ("64:ff9b:1::/48", None, None),
            ("100::/64", None, None),
            ("2001::/32", Some("2000:ffff::"), None),
            ("2001:2::/48", None, None),
            ("2001:10::/28", None, None),
            ("2001:20::/28", None, None),
            ("2001::/23", None, Some("2001:200::")),
            ("2001:db8::/32", Some("2001:db7::"), Some("2001:db9::")),
            ("2002::/16", Some("2001:ffff::"), Some("2003::")),
            ("3ffe::/16", Some("3ffd::"), None),
            ("3fff::/20", None, Some("3fff:1000::")),
            ("5f00::/16", None, None),
            ("fc00::/7", None, None),
            ("fe80::/10", None, None),
            ("fec0::/10", None, None),
            ("ff00::/8", None, None),
        ];
        for (network, before, behind) in cases {
            let network: IpNet = network.parse().unwrap();
            // ipnet's `broadcast` is the last address, for IPv6 too
            for inside in [network.network(), network.broadcast()] {
                assert!(!is_public(inside), "{inside}");
            }
            for outside in [before, behind].into_iter().flatten() {
                assert!(is_public(outside.parse().unwrap()), "{outside}");
            }
        }
        for public in ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "2a00:1450:4001::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_allowed_network_is_exact_and_does_not_allow_what_it_carries() {
        let allowed: Vec<IpNet> =
            ["10.1.0.0/16", "64:ff9b::/96", "::ffff:0:0/96"].map(|net| net.parse().unwrap()).into();
        let cases = [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("64:ff9b::808:808", true),
            ("64:ff9b::a01:203", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:127.0.0.1", false),
            ("2606:2800:220:1::1", true),
            ("fd00::1", false),
        ];
        for (address, want) in cases {
            assert_eq!(is_permitted(address.parse().unwrap(), &allowed), want, "{address}");
        }
        let loopback: [IpNet; 2] = ["::1/128".parse().unwrap(), "2001::/32".parse().unwrap()];
        assert!(is_permitted("::1".parse().unwrap(), &loopback));
        // Teredo: a public client behind a private server, and the reverse
        assert!(!is_permitted("2001:0:7f00:1::a247:2721".parse().unwrap(), &loopback));
        assert!(!is_permitted("2001:0:5db8:d822::80ff:fffe".parse().unwrap(), &loopback));
    }

    fn special() -> impl Strategy<Value = Ipv4Addr> {
        (0..SPECIAL_V4.len(), any::<u32>()).prop_map(|(index, bits)| {
            let net = SPECIAL_V4[index];
            let host = bits & net.hostmask().to_bits();
            Ipv4Addr::from_bits(net.network().to_bits() | host)
        })
    }

    proptest! {
        /// What is private stays private in whatever form an answer brings it.
        #[test]
        fn a_private_ipv4_is_refused_in_every_form(inner in special()) {
            let transition: Vec<IpNet> = ["::/0"].map(|net| net.parse().unwrap()).into();
            for form in forms(inner) {
                prop_assert!(!is_public(form), "{form}");
                prop_assert!(!is_permitted(form, &[]), "{form}");
                // `::1` and `::` are IPv6 addresses of their own, which `::/0` does allow
                let own = matches!(form, IpAddr::V6(form) if form.is_loopback() || form.is_unspecified());
                prop_assert!(own || !is_permitted(form, &transition), "{form} although only IPv6 is allowed");
            }
        }

        /// The standard library's notion of private is a part of ours.
        #[test]
        fn what_std_calls_special_is_refused(bits in any::<u32>(), bits6 in any::<u128>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            if special {
                for form in forms(v4) {
                    prop_assert!(!is_public(form), "{form}");
                }
            }
            let v6 = Ipv6Addr::from_bits(bits6);
            let special = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local()
                || v6.is_unicast_link_local() || v6.to_ipv4().is_some();
            prop_assert!(!special || !is_public(v6.into()), "{v6}");
        }
    }
}
