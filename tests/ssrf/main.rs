//! Where a hostile issuer, DID host or name server can send us: nowhere.
//!
//! Each case goes through a public source of identity to a real resolver and to real https servers on this machine, and
//! says which check refuses it. The servers count connections, also those that end before a request. Every case is built
//! so that all other checks would let it pass; [`an_unprotected_client_is_sent_astray`] shows how many of them do reach
//! a server without ours.
//!
//! `cfg(test)` says to clippy what cargo knows: these are tests, which fail by panicking.
#![cfg(feature = "registry")]
#![expect(unreachable_pub, reason = "what stories share is public to them")]
#![expect(clippy::arithmetic_side_effects, reason = "counters of a few hundred")]

#[cfg(test)]
mod dns;
#[cfg(test)]
mod places;
#[cfg(test)]
mod table;

#[cfg(test)]
mod stories {
    use std::sync::Arc;

    use rmcp_guard::identity::did::Did;
    use rmcp_guard::identity::fetch::{FetchErrorKind, Fetcher};
    use rmcp_guard::identity::remote::{DidResolveError, DidWebDocuments, RemoteKeys};

    use super::dns::{Dns, addresses};
    use super::places::Places;
    use super::table::{Allow, CASES, Case, Want, Where};

    struct World {
        dns: Dns,
        places: Places,
    }

    impl World {
        async fn new() -> Self {
            Self { dns: Dns::start().await, places: Places::start().await }
        }

        /// A fetcher with no connections yet.
        fn fetcher(&self, allow: Allow) -> Fetcher {
            let builder = Fetcher::builder()
                .resolver(Arc::new(self.dns.clone()))
                .add_root_certificate_pem(self.places.root_pem.as_bytes());
            let builder = match allow {
                Allow::Port => builder.allow_port(self.places.port),
                Allow::Network => builder.insecure_allow_network("127.0.0.1/32"),
                Allow::PortAndNetwork => builder.allow_port(self.places.port).insecure_allow_network("127.0.0.1/32"),
                Allow::Loopback => builder.dangerous_allow_loopback(),
            };
            builder.build().unwrap()
        }

        /// Tells the servers about the case, and answers the origin to ask.
        fn prepare(&self, case: &Case) -> String {
            let port = self.places.port.to_string();
            match &case.place {
                Where::Url(text) => text.replace("PORT", &port),
                Where::Answers(answers) => {
                    self.dns.say("files.example.com", vec![answers()]);
                    format!("https://files.example.com:{port}")
                }
                Where::MovedTo(location) => {
                    self.places.move_to(&location.replace("PORT", &port));
                    self.dns.say("inside.example.com", vec![addresses(&["127.0.0.2"])]);
                    format!("https://moved.example.com:{port}")
                }
            }
        }
    }

    async fn ask(fetcher: &Fetcher, origin: &str) -> Result<(), FetchErrorKind> {
        RemoteKeys::new(origin, fetcher.clone()).refresh().await.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn none_of_the_corpus_gets_through_and_the_controls_do() {
        let world = World::new().await;
        let refused = CASES.iter().filter(|case| case.want != Want::Through).count();
        assert!(refused >= 60, "only {refused} cases");
        for case in CASES {
            let origin = world.prepare(case);
            let got = ask(&world.fetcher(case.allow), &origin).await;
            let want = match case.want {
                Want::Through => Ok(()),
                Want::Refused(kind) => Err(kind),
                Want::AnswerRefused => Err(FetchErrorKind::Redirect),
            };
            assert_eq!(got, want, "{}: {origin}", case.name);
            // a redirect is seen in an answer, so its sender was reached; nobody else ever is
            let allowed = usize::from(!matches!(case.want, Want::Refused(_)));
            assert_eq!(world.places.take_hits(), (allowed, 0), "{}: {origin}", case.name);
        }
    }

    /// The same cases with a client that has a resolver and trusts the servers, and nothing of ours. It is kept to this
    /// machine, since a test has no business elsewhere; so the private networks of the corpus do not count here.
    #[tokio::test]
    async fn an_unprotected_client_is_sent_astray() {
        let world = World::new().await;
        let client = reqwest::Client::builder()
            .no_proxy()
            .dns_resolver(world.dns.clone())
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::custom(|attempt| {
                if is_here(attempt.url()) { attempt.follow() } else { attempt.stop() }
            }))
            .timeout(std::time::Duration::from_secs(1));
        let client = client.build().unwrap();
        let mut astray = 0;
        for case in CASES.iter().filter(|case| case.want != Want::Through) {
            let origin = world.prepare(case);
            let Ok(url) = reqwest::Url::parse(&format!("{origin}/.well-known/jwks.json")) else { continue };
            if is_here(&url) {
                let _ = client.get(url).send().await;
            }
            let (allowed, others) = world.places.take_hits();
            astray += usize::from(if case.want == Want::AnswerRefused { others > 0 } else { allowed + others > 0 });
        }
        assert!(astray >= 60, "only {astray} cases are a danger without protection");
    }

    /// Whether nothing but this machine is asked for `url`: names are, since the resolver keeps to it.
    fn is_here(url: &reqwest::Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        host.parse().map_or(true, super::dns::is_this_machine)
    }

    /// The zone answers the check with an allowed address and the connection with another one.
    #[tokio::test]
    async fn the_addresses_that_were_checked_are_the_ones_connected_to() {
        let world = World::new().await;
        let name = "rebound.example.com";
        let origin = format!("https://{name}:{}", world.places.port);
        world.dns.say(name, vec![addresses(&["127.0.0.1"]), addresses(&["127.0.0.2", "::1"])]);
        let fetcher = world.fetcher(Allow::PortAndNetwork);

        assert_eq!(ask(&fetcher, &origin).await, Ok(()));
        assert_eq!(world.dns.lookups(name), 1, "one look-up for the check and the connection");
        assert_eq!(world.places.take_hits(), (1, 0));

        // The next connection has a look-up and a check of its own.
        assert_eq!(ask(&fetcher, &origin).await, Err(FetchErrorKind::Address));
        assert_eq!(world.dns.lookups(name), 2);
        assert_eq!(world.places.take_hits(), (0, 0));
    }

    /// An answer that changes with every look-up never has two of them for one request.
    #[tokio::test]
    async fn an_answer_that_alternates_brings_nothing_past_the_check() {
        let world = World::new().await;
        let name = "alternating.example.com";
        let origin = format!("https://{name}:{}", world.places.port);
        let (good, bad) = (addresses(&["127.0.0.1"]), addresses(&["127.0.0.2"]));
        world.dns.say(name, (0..20).map(|turn| if turn % 2 == 0 { good.clone() } else { bad.clone() }).collect());
        let fetcher = world.fetcher(Allow::PortAndNetwork);
        for turn in 0..20 {
            let want = if turn % 2 == 0 { Ok(()) } else { Err(FetchErrorKind::Address) };
            assert_eq!(ask(&fetcher, &origin).await, want, "turn {turn}");
        }
        assert_eq!((world.dns.lookups(name), world.places.take_hits()), (20, (10, 0)));
    }

    /// What a DID names goes the same way.
    #[tokio::test]
    async fn a_did_web_cannot_name_a_place_inside() {
        let world = World::new().await;
        world.dns.say("inside.example.com", vec![addresses(&["127.0.0.2"])]);
        let port = world.places.port;
        let cases = [
            (format!("did:web:files.example.com%3A{port}"), Ok(())),
            (format!("did:web:inside.example.com%3A{port}"), Err(FetchErrorKind::Address)),
            (format!("did:web:localhost%3A{port}"), Err(FetchErrorKind::Address)),
            (format!("did:web:metadata.google.internal%3A{port}"), Err(FetchErrorKind::Address)),
            ("did:web:files.example.com%3A22".to_owned(), Err(FetchErrorKind::Port)),
        ];
        for (text, want) in cases {
            let documents = DidWebDocuments::new(world.fetcher(Allow::PortAndNetwork));
            let got = match documents.resolve(&Did::parse(&text).unwrap()).await {
                // the server has keys for everybody, and no document
                Err(DidResolveError::Document(_)) => Ok(()),
                Err(DidResolveError::Fetch(error)) => Err(error.kind()),
                got => panic!("{text}: {got:?}"),
            };
            assert_eq!(got, want, "{text}");
            assert_eq!(world.places.take_hits(), (usize::from(want.is_ok()), 0), "{text}");
        }
        // Spellings of addresses are no did:web at all, or refused like the names above.
        for host in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "%5B%3A%3A1%5D", "127.0.0.1.", "localhost."] {
            let Ok(did) = Did::parse(&format!("did:web:{host}%3A{port}")) else { continue };
            let got = DidWebDocuments::new(world.fetcher(Allow::PortAndNetwork)).resolve(&did).await;
            assert!(matches!(got, Err(DidResolveError::Fetch(_))), "{host}: {got:?}");
            assert_eq!(world.places.take_hits(), (0, 0), "{host}");
        }
    }
}
