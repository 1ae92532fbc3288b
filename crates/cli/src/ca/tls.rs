//! The server's certificate: a root of this CA's own that clients trust, limited to the origin's host.
//!
//! The leaf is made anew at each start and lives in memory; the root's key stands in the directory for that.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{self, ServerConfig};
use zeroize::Zeroizing;

use crate::ca::dir::CaDir;
use crate::ca::error::CaError;
use crate::ca::origin::Origin;
use crate::ca::time::{now, rfc3339};
use crate::files;

/// Years that the root is good for; clients are told about the next one by hand.
const ROOT_YEARS: i32 = 10;

fn broken(error: &rcgen::Error) -> CaError {
    CaError::State(format!("the TLS certificate cannot be made: {error}"))
}

/// Year, month and day of now, which certificates begin and end with.
fn today() -> (i32, u8, u8) {
    let text = rfc3339(now().as_i64());
    let mut parts = text.split(['-', 'T']).take(3);
    let year = parts.next().and_then(|year| year.parse().ok()).unwrap_or(2026);
    let mut small = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(1);
    (year, small(), small())
}

/// The same at every start but for the dates, so that it names the issuer of each leaf.
fn root_params(origin: &Origin) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("rmcp-guard ca, {}", origin.as_str()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whoever trusts this root trusts it for this host and no other.
    let host = GeneralSubtree::DnsName(origin.host().to_owned());
    params.name_constraints = Some(NameConstraints { permitted_subtrees: vec![host], excluded_subtrees: Vec::new() });
    let (year, month, _) = today();
    params.not_before = date_time_ymd(year, month, 1);
    params.not_after = date_time_ymd(year.saturating_add(ROOT_YEARS), month, 1);
    params
}

/// Writes the root's key and certificate.
pub(crate) fn create_root(dir: &CaDir, origin: &Origin) -> Result<(), CaError> {
    let key = KeyPair::generate().map_err(|error| broken(&error))?;
    let certificate = root_params(origin).self_signed(&key).map_err(|error| broken(&error))?;
    let written = files::write_secret(&dir.tls_root_key(), &Zeroizing::new(key.serialize_pem()))
        .and_then(|()| files::write_new(&dir.root_certificate(), &certificate.pem()));
    written.map_err(|_| CaError::State("the TLS root cannot be written".to_owned()))
}

/// TLS with a fresh leaf for the origin's host, good for 13 months.
pub(crate) fn server_config(dir: &CaDir, origin: &Origin) -> Result<Arc<ServerConfig>, CaError> {
    let pem = files::read_text(&dir.tls_root_key())
        .map_err(|_| CaError::State(format!("{}: cannot be read", dir.tls_root_key().display())))?;
    let root_key = KeyPair::from_pem(&pem).map_err(|error| broken(&error))?;
    let issuer = Issuer::new(root_params(origin), root_key);

    let key = KeyPair::generate().map_err(|error| broken(&error))?;
    let mut params = CertificateParams::new(vec![origin.host().to_owned()]).map_err(|error| broken(&error))?;
    params.distinguished_name.push(DnType::CommonName, origin.host());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let (year, month, _) = today();
    params.not_before = date_time_ymd(year, month, 1);
    params.not_after = date_time_ymd(year.saturating_add(1), if month == 12 { 12 } else { month.saturating_add(1) }, 1);
    let leaf = params.signed_by(&key, &issuer).map_err(|error| broken(&error))?;

    let refused = |error: rustls::Error| CaError::State(format!("TLS cannot be set up: {error}"));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .map_err(refused)?;
    Ok(Arc::new(config))
}
