//! How this program reaches issuers and servers over the network.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::layer::client::VerifiedClientBuilder;

use crate::failure::Failure;

/// How long a server that does not answer is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Roots, and what only a machine for development needs.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Root certificates (PEM) that count beside the platform's, for the server, its issuer and its DID's host.
    #[arg(long, value_name = "FILE")]
    root_cert: Option<PathBuf>,
    /// Development only: an issuer on this machine is asked, also by plain http, and badges of such an issuer count.
    #[arg(long)]
    dangerous_loopback: bool,
}

impl NetworkArgs {
    /// Fetches keys, documents and status.
    pub(crate) fn fetcher(&self) -> Result<Fetcher, Failure> {
        let mut fetcher = Fetcher::builder();
        if let Some(pem) = self.roots()? {
            fetcher = fetcher.add_root_certificate_pem(&pem);
        }
        if self.dangerous_loopback {
            fetcher = fetcher.dangerous_allow_loopback();
        }
        fetcher.build().map_err(Failure::usage("--root-cert"))
    }

    pub(crate) fn apply(&self, mut builder: VerifiedClientBuilder) -> Result<VerifiedClientBuilder, Failure> {
        if self.dangerous_loopback {
            builder = builder.dangerous_dev_profile().dangerous_loopback_http();
        }
        if let Some(pem) = self.roots()? {
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(Failure::usage("--root-cert"))?;
            builder =
                builder.http_client(reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).tls_certs_merge(roots));
        }
        Ok(builder)
    }

    fn roots(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.root_cert.as_ref().map(std::fs::read).transpose().map_err(Failure::usage("--root-cert"))
    }
}
