//! What stands in for `network.rs` in a build without the feature `registry`: each of its keys is a mistake that says so.

use std::path::PathBuf;

use serde_json::Value;

use crate::enforce::config::GuardConfigBuilder;
use crate::enforce::config::file::{IssuerLimits, Reader, Section};

const ADVICE: &str = "needs the network; build rmcp-guard with its feature `registry`";

/// Nothing, and no unit struct either: `Network::default()` is right for its twin too.
#[derive(Debug, Default)]
pub(super) struct Network {}

impl Network {
    #[expect(clippy::unused_self, reason = "as its twin")]
    pub(super) const fn describe(&self) -> Value {
        Value::Null
    }
}

pub(super) const fn discover(_: &mut GuardConfigBuilder) {}

pub(super) const fn open_revocations(_: &mut GuardConfigBuilder) {}

impl Reader<'_> {
    pub(super) fn discovered(&mut self, key: String, _: String, _: IssuerLimits) {
        self.builder.problem(key + ".discover", ADVICE);
    }

    pub(super) fn network_revocations(&mut self, _: &str, _: Option<PathBuf>, _: Option<PathBuf>) {
        self.builder.problem("revocations.mode", ADVICE);
    }

    pub(super) fn resolve_documents(&mut self) {
        self.builder.problem("did_documents.resolve", ADVICE);
    }

    pub(super) fn network(&mut self, _: Section) {
        self.builder.problem("network", ADVICE);
    }
}
