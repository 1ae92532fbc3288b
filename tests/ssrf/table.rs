//! The corpus. `PORT` stands for the servers' port; every name is at 127.0.0.1 unless a case says otherwise.

use rmcp_guard::identity::fetch::FetchErrorKind::{self, Address, Dns, Port, Url};

use super::dns::{Says, addresses};

/// What the application allows besides the defaults.
#[derive(Clone, Copy, Debug)]
pub enum Allow {
    /// The servers' port.
    Port,
    /// 127.0.0.1 exactly.
    Network,
    PortAndNetwork,
    /// This machine, for development.
    Loopback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The control: it does get through.
    Through,
    /// Refused before anything connects.
    Refused(FetchErrorKind),
    /// The allowed server is asked and its redirect refused.
    AnswerRefused,
}

pub enum Where {
    /// An origin that an attacker writes.
    Url(&'static str),
    /// The addresses of a name that is as it should be.
    Answers(fn() -> Says),
    /// The target of a redirect from a server that may be asked.
    MovedTo(&'static str),
}

pub struct Case {
    pub name: &'static str,
    pub allow: Allow,
    pub place: Where,
    pub want: Want,
}

/// A URL where 127.0.0.1 and the port are allowed: its text alone is what is refused.
const fn url(name: &'static str, text: &'static str, want: Want) -> Case {
    Case { name, allow: Allow::PortAndNetwork, place: Where::Url(text), want }
}

/// A name with these addresses, of which only 127.0.0.1 is allowed.
const fn answers(name: &'static str, answers: fn() -> Says, want: Want) -> Case {
    Case { name, allow: Allow::PortAndNetwork, place: Where::Answers(answers), want }
}

const fn moved(name: &'static str, location: &'static str) -> Case {
    Case { name, allow: Allow::PortAndNetwork, place: Where::MovedTo(location), want: Want::AnswerRefused }
}

const fn allowing(allow: Allow, name: &'static str, text: &'static str, want: Want) -> Case {
    Case { name, allow, place: Where::Url(text), want }
}

const THROUGH: Want = Want::Through;
const BAD_URL: Want = Want::Refused(Url);
const BAD_ADDRESS: Want = Want::Refused(Address);
const BAD_PORT: Want = Want::Refused(Port);
const BAD_DNS: Want = Want::Refused(Dns);

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Controls: the servers, the certificate and the resolver work.
    url("a name", "https://files.example.com:PORT", THROUGH),
    url("a name in capitals", "https://FILES.Example.COM:PORT", THROUGH),
    url("an A-label", "https://xn--bcher-kva.example:PORT", THROUGH),
    url("a name of an allowed network", "https://registry.internal:PORT", THROUGH),
    url("a name without a dot, where a network is allowed", "https://registry:PORT", THROUGH),
    answers("an allowed address", || addresses(&["127.0.0.1"]), THROUGH),
    answers("an alias of an allowed address", || Says::Alias("cdn.example.com.", vec![[127, 0, 0, 1].into()]), THROUGH),
    allowing(Allow::Loopback, "localhost for development", "https://localhost:PORT", THROUGH),
    allowing(Allow::Loopback, "127.0.0.1 for development", "https://127.0.0.1:PORT", THROUGH),

    // IPv4 literals: all of these are 127.0.0.1 to the parser that reqwest connects by.
    url("dotted", "https://127.0.0.1:PORT", BAD_ADDRESS),
    url("dotted, in three parts", "https://127.0.1:PORT", BAD_ADDRESS),
    url("dotted, in two parts", "https://127.1:PORT", BAD_ADDRESS),
    url("decimal", "https://2130706433:PORT", BAD_ADDRESS),
    url("hexadecimal", "https://0x7f000001:PORT", BAD_ADDRESS),
    url("hexadecimal in capitals", "https://0X7F000001:PORT", BAD_ADDRESS),
    url("hexadecimal parts", "https://0x7f.0x0.0x0.0x1:PORT", BAD_ADDRESS),
    url("hexadecimal, short", "https://0x7f.1:PORT", BAD_ADDRESS),
    url("octal", "https://017700000001:PORT", BAD_ADDRESS),
    url("octal parts", "https://0177.0.0.01:PORT", BAD_ADDRESS),
    url("octal with many zeros", "https://0000177.0.0.1:PORT", BAD_ADDRESS),
    url("mixed bases", "https://0x7f.0.01:PORT", BAD_ADDRESS),
    url("trailing dot", "https://127.0.0.1.:PORT", BAD_ADDRESS),
    url("percent-encoded digits", "https://%31%32%37.0.0.1:PORT", BAD_ADDRESS),
    url("percent-encoded dots", "https://127%2E0%2E0%2E1:PORT", BAD_ADDRESS),
    url("percent-encoded full-width digits", "https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1:PORT", BAD_ADDRESS),
    url("full-width digits", "https://１２７.0.0.1:PORT", BAD_URL),
    url("circled digits", "https://①②⑦.0.0.1:PORT", BAD_URL),
    url("ideographic full stops", "https://127。0。0。1:PORT", BAD_URL),
    url("another loopback address", "https://127.0.0.2:PORT", BAD_ADDRESS),
    url("this host", "https://0.0.0.0:PORT", BAD_ADDRESS),
    url("this host, short", "https://0:PORT", BAD_ADDRESS),
    url("the metadata service", "https://169.254.169.254:PORT", BAD_ADDRESS),
    url("the metadata service, decimal", "https://2852039166:PORT", BAD_ADDRESS),
    url("a public address is no name either", "https://8.8.8.8:PORT", BAD_ADDRESS),
    url("a number too large", "https://256.0.0.1:PORT", BAD_URL),

    // IPv6 literals.
    url("IPv6 loopback", "https://[::1]:PORT", BAD_ADDRESS),
    url("IPv6 loopback, in full", "https://[0:0:0:0:0:0:0:1]:PORT", BAD_ADDRESS),
    url("IPv6 unspecified", "https://[::]:PORT", BAD_ADDRESS),
    url("mapped, dotted", "https://[::ffff:127.0.0.1]:PORT", BAD_ADDRESS),
    url("mapped, hexadecimal", "https://[::ffff:7f00:1]:PORT", BAD_ADDRESS),
    url("mapped, in full", "https://[0:0:0:0:0:ffff:7f00:0001]:PORT", BAD_ADDRESS),
    url("compatible", "https://[::127.0.0.1]:PORT", BAD_ADDRESS),
    url("NAT64", "https://[64:ff9b::7f00:1]:PORT", BAD_ADDRESS),
    url("link local", "https://[fe80::1]:PORT", BAD_ADDRESS),
    url("a zone", "https://[fe80::1%25lo]:PORT", BAD_URL),
    url("a zone, not escaped", "https://[::1%lo]:PORT", BAD_URL),

    // Names that mean this machine or what is near it.
    url("localhost", "https://localhost:PORT", BAD_ADDRESS),
    url("localhost in capitals", "https://LocalHost:PORT", BAD_ADDRESS),
    url("localhost with a trailing dot", "https://localhost.:PORT", BAD_ADDRESS),
    url("localhost, percent-encoded", "https://%6cocalhost:PORT", BAD_ADDRESS),
    url("below localhost", "https://files.localhost:PORT", BAD_ADDRESS),
    url("the metadata service's name", "https://metadata.google.internal:PORT", BAD_ADDRESS),
    url("the metadata service's name, with a trailing dot", "https://metadata.google.internal.:PORT", BAD_ADDRESS),
    url("the metadata service's short name", "https://metadata:PORT", BAD_ADDRESS),
    allowing(Allow::Port, "a name without a dot", "https://registry:PORT", BAD_ADDRESS),
    allowing(Allow::Port, "a name below internal", "https://registry.internal:PORT", BAD_ADDRESS),
    allowing(Allow::Port, "a name below local", "https://printer.local:PORT", BAD_ADDRESS),

    // Names that two parsers may read as two.
    url("a trailing dot", "https://files.example.com.:PORT", BAD_URL),
    url("a percent-encoded letter", "https://f%69les.example.com:PORT", BAD_URL),
    url("a percent-encoded slash", "https://files.example.com%2f.evil.example:PORT", BAD_URL),
    url("a percent-encoded NUL", "https://files.example.com%00.evil.example:PORT", BAD_URL),
    url("a U-label", "https://bücher.example:PORT", BAD_URL),
    url("a Cyrillic letter", "https://files.ex\u{430}mple.com:PORT", BAD_URL),
    url("a soft hyphen", "https://files.exam\u{ad}ple.com:PORT", BAD_URL),
    url("a long s", "https://file\u{17f}.example.com:PORT", BAD_URL),
    url("an A-label that is none", "https://xn--zz.example:PORT", BAD_URL),
    url("an underscore", "https://a_b.example.com:PORT", BAD_URL),
    url("an empty label", "https://files..example.com:PORT", BAD_URL),
    url("a tab", "https://files.exa\tmple.com:PORT", BAD_URL),
    url("a line break", "https://files.example.com\n:PORT", BAD_URL),
    url("a leading space", " https://files.example.com:PORT", BAD_URL),
    url("backslashes", "https:\\\\files.example.com:PORT", BAD_URL),
    url("one slash", "https:/files.example.com:PORT", BAD_URL),
    url("three slashes", "https:///files.example.com:PORT", BAD_URL),

    // User information, fragments, paths.
    url("a user", "https://user@files.example.com:PORT", BAD_URL),
    url("a user and a password", "https://user:password@files.example.com:PORT", BAD_URL),
    url("an empty user", "https://@files.example.com:PORT", BAD_URL),
    url("a name as the user of another", "https://files.example.com@inside.example.com:PORT", BAD_URL),
    url("a name as the user of an address", "https://files.example.com@127.0.0.1:PORT", BAD_ADDRESS),
    url("a backslash before the at sign", "https://files.example.com:PORT\\@inside.example.com", BAD_URL),
    url("a fragment that hides the path", "https://files.example.com:PORT/admin#", BAD_URL),
    url("dot segments", "https://files.example.com:PORT/a/..", BAD_URL),
    url("percent-encoded dot segments", "https://files.example.com:PORT/a/%2e%2e", BAD_URL),

    // Schemes.
    url("http", "http://files.example.com:PORT", BAD_URL),
    url("ftp", "ftp://files.example.com:PORT", BAD_URL),
    url("ws", "wss://files.example.com:PORT", BAD_URL),
    url("a file", "file:///etc/passwd", BAD_URL),
    url("no scheme", "//files.example.com:PORT", BAD_URL),

    // Ports.
    allowing(Allow::Network, "a port that was not allowed", "https://files.example.com:PORT", BAD_PORT),
    url("ssh", "https://files.example.com:22", BAD_PORT),
    url("http's port", "https://files.example.com:80", BAD_PORT),
    url("port zero", "https://files.example.com:0", BAD_PORT),
    url("a port beyond the last", "https://files.example.com:65979", BAD_URL),
    allowing(Allow::Loopback, "another host's port, for development", "https://files.example.com:PORT", BAD_PORT),

    // For development, this machine and no more.
    allowing(Allow::Loopback, "an odd spelling, for development", "https://127.1:PORT", BAD_URL),
    allowing(Allow::Loopback, "mapped, for development", "https://[::ffff:127.0.0.1]:PORT", BAD_ADDRESS),
    allowing(Allow::Loopback, "this host, for development", "https://0.0.0.0:PORT", BAD_ADDRESS),
    allowing(Allow::Loopback, "http elsewhere, for development", "http://files.example.com:PORT", BAD_URL),

    // What a name server answers.
    Case { name: "loopback", allow: Allow::Port, place: Where::Answers(|| addresses(&["127.0.0.1"])), want: BAD_ADDRESS },
    answers("the address next to the allowed one", || addresses(&["127.0.0.2"]), BAD_ADDRESS),
    answers("IPv6 loopback by AAAA", || addresses(&["::1"]), BAD_ADDRESS),
    answers("the allowed address, mapped", || addresses(&["::ffff:127.0.0.1"]), BAD_ADDRESS),
    answers("the allowed address, compatible", || addresses(&["::127.0.0.1"]), BAD_ADDRESS),
    answers("the allowed address by NAT64", || addresses(&["64:ff9b::7f00:1"]), BAD_ADDRESS),
    answers("the allowed address by 6to4", || addresses(&["2002:7f00:1::1"]), BAD_ADDRESS),
    answers("the allowed address by Teredo", || addresses(&["2001:0:5db8:d822::80ff:fffe"]), BAD_ADDRESS),
    answers("this host", || addresses(&["0.0.0.0"]), BAD_ADDRESS),
    answers("this host by AAAA", || addresses(&["::"]), BAD_ADDRESS),
    answers("private, 10/8", || addresses(&["10.0.0.1"]), BAD_ADDRESS),
    answers("private, 172.16/12", || addresses(&["172.31.255.254"]), BAD_ADDRESS),
    answers("private, 192.168/16", || addresses(&["192.168.1.1"]), BAD_ADDRESS),
    answers("shared by a carrier's customers", || addresses(&["100.64.0.1"]), BAD_ADDRESS),
    answers("the metadata service", || addresses(&["169.254.169.254"]), BAD_ADDRESS),
    answers("the metadata service by AAAA", || addresses(&["fd00:ec2::254"]), BAD_ADDRESS),
    answers("link local by AAAA", || addresses(&["fe80::1"]), BAD_ADDRESS),
    answers("site local by AAAA", || addresses(&["fec0::1"]), BAD_ADDRESS),
    answers("multicast", || addresses(&["224.0.0.1"]), BAD_ADDRESS),
    answers("broadcast", || addresses(&["255.255.255.255"]), BAD_ADDRESS),
    answers("benchmarks", || addresses(&["198.18.0.1"]), BAD_ADDRESS),
    answers("one bad among good", || addresses(&["127.0.0.1", "127.0.0.2"]), BAD_ADDRESS),
    answers("one bad before good", || addresses(&["127.0.0.2", "127.0.0.1"]), BAD_ADDRESS),
    answers("a good A with a bad AAAA", || addresses(&["127.0.0.1", "::1"]), BAD_ADDRESS),
    answers("an alias of a bad address", || Says::Alias("inside.example.com.", vec![[127, 0, 0, 2].into()]), BAD_ADDRESS),
    answers("an alias of localhost", || Says::Alias("localhost.", vec![[127, 0, 0, 2].into()]), BAD_ADDRESS),
    answers("an alias of nothing", || Says::Alias("gone.example.com.", Vec::new()), BAD_DNS),
    answers("no address at all", || addresses(&[]), BAD_DNS),
    answers("no such name", || Says::NoSuchName, BAD_DNS),
    answers("a failure", || Says::Failure, BAD_DNS),
    answers("no DNS message", || Says::Garbage, BAD_DNS),
    answers("more addresses than anybody needs", || Says::Addresses(vec![[127, 0, 0, 1].into(); 33]), BAD_DNS),

    // Redirects of a server that may be asked.
    moved("to an address inside", "https://127.0.0.2:PORT/latest/meta-data/"),
    moved("to a name inside", "https://inside.example.com:PORT/"),
    moved("to IPv6 loopback", "https://[::1]:PORT/"),
    moved("to the metadata service", "http://169.254.169.254/latest/meta-data/"),
    moved("to a file", "file:///etc/passwd"),
    moved("to itself", "https://files.example.com:PORT/elsewhere"),
    moved("to nowhere", ""),
];
