//! What the operator does: on the directory itself, also while the server runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmcp_guard::identity::badge::BadgeRequest;
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::fetch::Fetcher;
use rmcp_guard::identity::remote::DidWebDocuments;
use rmcp_guard::identity::trust_level::TrustLevel;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Failure;
use crate::ca::api::{self, App, Limits};
use crate::ca::dir::CaDir;
use crate::ca::error::CaError;
use crate::ca::origin::Origin;
use crate::ca::policy::{DEFAULT_POLICY, Policy};
use crate::ca::serve::Routes;
use crate::ca::signing::KeyRing;
use crate::ca::store::{Store, meta, set_meta};
use crate::ca::subjects::{Claim, Kind};
use crate::ca::time::{now, rfc3339};
use crate::ca::{Holder, Init, Issue, Serve, accounts, as_did, badges, serve as server, signing, subjects, tls};
use crate::exit::Exit;
use crate::files;
use crate::output::{Output, Text};

/// How often the server forgets what has expired.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

pub(super) fn init(arguments: &Init, output: Output) -> Result<(), Failure> {
    let origin = Origin::parse(&arguments.origin).map_err(CaError::into_failure)?;
    if !origin.is_tls() && !arguments.no_tls {
        let message = "an http origin has no certificate: say --no-tls, or name an https origin";
        return Err(Failure::new(message).with_exit(Exit::Usage));
    }
    let target = &arguments.at.dir;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let used = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some()) || target.is_file();
    if used {
        return Err(CaError::State(format!("{}: exists and is not empty", target.display())).into_failure());
    }
    // Whole or not at all: the directory appears under its name when everything is in it.
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let draft = builder.prefix(".rmcp-guard-ca").tempdir_in(parent);
    let draft = draft.map_err(|error| CaError::io(parent, error).into_failure())?;
    let dir = CaDir::at(draft.path());
    let key = fill(&dir, &origin, arguments)?;
    if let Some(file) = &arguments.api_key_file {
        files::write_secret(file, &format!("{}\n", key.secret.as_str()))?;
    }
    fs::rename(draft.path(), target).map_err(|error| CaError::io(target, error).into_failure())?;
    // It has moved away; there is nothing left to remove.
    let _ = draft.keep();

    let dir = CaDir::at(target);
    let mut shown = json!({
        "dir": target.to_string_lossy(),
        "origin": origin.as_str(),
        "account": arguments.account,
        "api_key_id": key.id,
    });
    let mut text = Text::default().field("origin", origin.as_str()).field("directory", target.display());
    if !arguments.no_tls {
        set(&mut shown, "root_certificate", &dir.root_certificate().to_string_lossy());
        text = text.field("certificate", dir.root_certificate().display());
    }
    text = text.field("account", &arguments.account);
    if let Some(file) = &arguments.api_key_file {
        set(&mut shown, "api_key_file", &file.to_string_lossy());
        text = text.field("API key", format_args!("in {}", file.display()));
    } else {
        set(&mut shown, "api_key", key.secret.as_str());
        text = text.field("API key", format_args!("{} (shown once)", key.secret.as_str()));
    }
    output.result(&shown, &text)
}

/// Adds a member to a result.
fn set(shown: &mut Value, name: &str, value: &str) {
    if let Value::Object(members) = shown {
        members.insert(name.to_owned(), value.into());
    }
}

/// Everything that stands in a new CA's directory.
fn fill(dir: &CaDir, origin: &Origin, arguments: &Init) -> Result<accounts::NewKey, Failure> {
    let keys = dir.keys();
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&keys).map_err(|error| CaError::io(&keys, error).into_failure())?;
    files::write_secret(&dir.database(), "")?;
    files::write_secret(&dir.policy(), DEFAULT_POLICY)?;
    if !arguments.no_tls {
        tls::create_root(dir, origin).map_err(CaError::into_failure)?;
    }
    let store = Store::create(&dir.database()).map_err(CaError::into_failure)?;
    let key = store.write(|connection| {
        set_meta(connection, "origin", origin.as_str())?;
        set_meta(connection, "tls", if arguments.no_tls { "no" } else { "yes" })?;
        // It signs whatever the clock says.
        signing::add(dir, connection, now(), 0)?;
        let account = accounts::add(connection, &arguments.account, now())?;
        accounts::add_key(connection, &account, now())
    });
    key.map_err(CaError::into_failure)
}

pub(super) fn serve(arguments: &Serve, output: Output) -> Result<(), Failure> {
    let dir = CaDir::open(&arguments.at.dir).map_err(CaError::into_failure)?;
    let (store, origin) = dir.load().map_err(CaError::into_failure)?;
    let tls = store.read(|connection| meta(connection, "tls")).map_err(CaError::into_failure)? == "yes";
    let listen = arguments.listen.unwrap_or(([127, 0, 0, 1], origin.port()).into());
    if !tls && !listen.ip().is_loopback() {
        let message = format!("{listen}: plain http is for loopback only; a CA with TLS may listen there");
        return Err(Failure::new(message).with_exit(Exit::Usage));
    }
    let config = tls.then(|| tls::server_config(&dir, &origin)).transpose().map_err(CaError::into_failure)?;
    let acceptor = config.map(TlsAcceptor::from);
    let policy = Policy::load(&dir.policy()).map_err(CaError::into_failure)?;
    let app = Arc::new(App {
        store,
        ring: KeyRing::new(dir.clone(), &origin),
        limits: Limits::new(&policy),
        policy,
        documents: DidWebDocuments::new(Fetcher::new()?),
        origin,
    });
    // What it writes names no secret: ids of badges, DIDs, errors.
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stop = server::stop_signal()?;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| Failure::new(format!("{listen}: {error}")).with_exit(Exit::Network))?;
        let address = listener.local_addr()?;
        let shown = json!({ "origin": app.origin.as_str(), "address": address.to_string(), "tls": tls });
        output.line(&shown, format_args!("serving {} on {address}", app.origin.as_str()))?;
        // Resolvers read the documents of a did:web of localhost without TLS. Nothing else is answered to them.
        let plain = app.origin.is_loopback() && address.ip().is_loopback();
        let routes = Routes {
            tls: acceptor,
            app: api::router(Arc::clone(&app)),
            plain: plain.then(|| api::documents(Arc::clone(&app))),
        };
        let serving = server::serve(listener, routes, stop);
        tokio::select! {
            () = serving => {}
            () = prune(&dir, &app) => {}
        }
        Ok(())
    })
}

/// Forgets what has expired, now and then; never ends.
async fn prune(dir: &CaDir, app: &Arc<App>) {
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        let (dir, app) = (dir.clone(), Arc::clone(app));
        let work = tokio::task::spawn_blocking(move || {
            app.store.write(|connection| {
                badges::prune(connection, now())?;
                signing::forget_retired(&dir, connection, now())
            })
        });
        if let Ok(Err(error)) = work.await {
            tracing::warn!(%error, "what has expired could not be removed");
        }
    }
}

/// The database of a directory, and a transaction on it.
fn change<T>(dir: &Path, work: impl FnOnce(&CaDir, &Origin, &Connection) -> Result<T, CaError>) -> Result<T, Failure> {
    let changed = || {
        let dir = CaDir::open(dir)?;
        let (store, origin) = dir.load()?;
        store.write(|connection| work(&dir, &origin, connection))
    };
    changed().map_err(CaError::into_failure)
}

pub(super) fn issue(arguments: &Issue, output: Output) -> Result<(), Failure> {
    let key = arguments.subject_key.as_deref().map(files::public_key).transpose()?;
    let issued = change(&arguments.at.dir, |dir, origin, connection| {
        let policy = Policy::load(&dir.policy())?;
        let (subject, sub) = match (&key, &arguments.subject) {
            (Some(key), _) => {
                let did = Did::from_public_key(key);
                let account =
                    connection.query_row("SELECT id FROM accounts ORDER BY rowid LIMIT 1", [], |row| row.get(0));
                let account: String = account?;
                let known = subjects::find(connection, did.as_str(), Kind::Agent);
                let subject = match known {
                    Ok(subject) => subject,
                    Err(CaError::Refused(_)) => {
                        let claim = Claim { did: Some(did.as_str().to_owned()), ..Claim::default() };
                        subjects::create(connection, origin, &policy, &account, Kind::Agent, &claim, now())?.0
                    }
                    Err(error) => return Err(error),
                };
                (subject, did)
            }
            (None, named) => {
                let named = named.as_deref().unwrap_or_default();
                let subject = subjects::find(connection, named, Kind::Agent)?;
                let sub = as_did(named).unwrap_or_else(|| subject.did.clone());
                (subject, sub)
            }
        };
        let no_key = || CaError::refused(409, "no_public_key", "no public key is registered for it");
        let key = sub.public_key().cloned().or_else(|| subject.key.clone()).ok_or_else(no_key)?;
        let mut request =
            BadgeRequest::new(sub, key, arguments.level).lifetime(Duration::from_secs(arguments.lifetime));
        request.domain = arguments.domain.as_deref().map(accounts::checked_domain).transpose()?;
        request.audience.clone_from(&arguments.audience);
        badges::issue(connection, &KeyRing::new(dir.clone(), origin), &subject, request, now())
    })?;
    let mut shown = json!({
        "jti": issued.jti,
        "subject": issued.request.subject.as_str(),
        "level": issued.request.level.as_u8(),
        "expires_at": rfc3339(issued.expires_at),
    });
    let Some(file) = &arguments.out else {
        set(&mut shown, "badge", &issued.token);
        return output.line(&shown, &issued.token);
    };
    files::write_secret(file, &format!("{}\n", issued.token))?;
    set(&mut shown, "file", &file.to_string_lossy());
    output.line(&shown, format_args!("{}: written", file.display()))
}

pub(super) fn revoke(dir: &Path, jti: &str, reason: Option<&str>, output: Output) -> Result<(), Failure> {
    let (badge, revocation) = change(dir, |_, _, connection| {
        let badge = badges::find(connection, jti)?;
        let revocation = badges::revoke(connection, &badge, reason, now())?;
        Ok((badge, revocation))
    })?;
    let at = rfc3339(revocation.at);
    let shown = json!({ "jti": badge.jti, "subject": badge.sub, "revoked_at": at, "reason": revocation.reason });
    output.line(&shown, format_args!("revoked: {}, of {}", badge.jti, badge.sub))
}

pub(super) fn disable(dir: &Path, subject: &str, reason: Option<&str>, output: Output) -> Result<(), Failure> {
    let subject = change(dir, |_, _, connection| {
        let subject = subjects::find(connection, subject, Kind::Agent)?;
        subjects::disable(connection, &subject, true, badges::checked_reason(reason)?, now())?;
        Ok(subject)
    })?;
    let shown = json!({ "id": subject.id, "did": subject.named().as_str(), "status": "disabled" });
    output.line(&shown, format_args!("disabled: {} ({})", subject.id, subject.name))
}

pub(super) fn enable(dir: &Path, subject: &str, output: Output) -> Result<(), Failure> {
    let subject = change(dir, |_, _, connection| {
        let subject = subjects::find(connection, subject, Kind::Agent)?;
        subjects::enable(connection, &subject, true)?;
        Ok(subject)
    })?;
    let shown = json!({ "id": subject.id, "did": subject.named().as_str(), "status": "active" });
    output.line(&shown, format_args!("enabled: {} ({})", subject.id, subject.name))
}

pub(super) fn rotate(dir: &Path, overlap: Duration, compromised: bool, output: Output) -> Result<(), Failure> {
    let kid = change(dir, |dir, _, connection| signing::rotate(dir, connection, now(), overlap, compromised))?;
    let from = if compromised { now() } else { now().saturating_add(overlap) };
    let from = rfc3339(from.as_i64());
    output.line(&json!({ "kid": kid, "signs_from": from }), format_args!("{kid} signs from {from}"))
}

pub(super) fn create_key(dir: &Path, account: &str, out: Option<&Path>, output: Output) -> Result<(), Failure> {
    let key = change(dir, |_, _, connection| {
        let account = accounts::find(connection, account)?;
        accounts::add_key(connection, &account, now())
    })?;
    let Some(file) = out else {
        return output.line(&json!({ "id": key.id, "api_key": key.secret.as_str() }), key.secret.as_str());
    };
    files::write_secret(file, &format!("{}\n", key.secret.as_str()))?;
    output.line(&json!({ "id": key.id, "file": file.to_string_lossy() }), format_args!("{}: written", file.display()))
}

pub(super) fn revoke_key(dir: &Path, id: &str, output: Output) -> Result<(), Failure> {
    change(dir, |_, _, connection| accounts::revoke_key(connection, id, now()))?;
    output.line(&json!({ "id": id, "revoked": true }), format_args!("revoked: {id}"))
}

pub(super) fn add_account(dir: &Path, name: &str, output: Output) -> Result<(), Failure> {
    let id = change(dir, |_, _, connection| accounts::add(connection, name, now()))?;
    output.line(&json!({ "id": id, "name": name }), &id)
}

/// The id that grants are kept under.
fn holder_id(connection: &Connection, holder: &Holder) -> Result<String, CaError> {
    match (&holder.agent, &holder.account) {
        (Some(agent), _) => Ok(subjects::find(connection, agent, Kind::Agent)?.id),
        (None, Some(account)) => accounts::find(connection, account),
        (None, None) => Err(CaError::invalid("invalid_request", "--agent or --account is needed")),
    }
}

pub(super) fn allow_domain(
    dir: &Path,
    holder: &Holder,
    domain: &str,
    level: TrustLevel,
    output: Output,
) -> Result<(), Failure> {
    change(dir, |_, _, connection| accounts::grant(connection, &holder_id(connection, holder)?, domain, level, now()))?;
    let shown = json!({ "domain": domain, "level": level.as_u8() });
    output.line(&shown, format_args!("{domain}: badges up to level {} may name it", level.as_u8()))
}

pub(super) fn deny_domain(dir: &Path, holder: &Holder, domain: &str, output: Output) -> Result<(), Failure> {
    change(dir, |_, _, connection| accounts::withdraw_grant(connection, &holder_id(connection, holder)?, domain))?;
    output.line(&json!({ "domain": domain }), format_args!("{domain}: new badges do not name it"))
}
