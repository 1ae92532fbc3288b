//! The policy enforcement point: credential in, permit or denial out, evidence written either way.

use std::time::SystemTime;

use crate::clock::UnixSeconds;
use crate::enforce::record::{Recording, Undecided};
#[cfg(feature = "layer")]
use crate::enforce::recorder;
use crate::enforce::{Call, Denial, GuardConfig, GuardError, Permit, PresentedCredential, Principal};
#[cfg(feature = "layer")]
use crate::evidence::AppendError;
use crate::evidence::{EvidenceId, NoticeRecord, PolicyLoadedRecord, Record};
use crate::policy::DenyReason;

/// The guard without a transport. Cheap to clone; clones share configuration, caches and evidence.
///
/// # Examples
/// The allow and the deny path, with a listed API key:
/// ```
/// # futures_executor_block_on(async {
/// use rmcp_guard::enforce::{Call, CallerCredential, Enforcer, GuardConfig};
/// use rmcp_guard::evidence::EvidenceLog;
/// use rmcp_guard::policy::{DenyReason, ToolRequirement};
///
/// let config = GuardConfig::builder()
///     .api_key("2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", "build-bot") // SHA-256 of "key"
///     .tool("status", ToolRequirement::authenticated())
///     .evidence(EvidenceLog::in_memory())
///     .build()?;
/// let enforcer = Enforcer::new(config);
///
/// let permit = enforcer.authorize(&Call::tool("status", None), &Ok(CallerCredential::api_key("key"))).await;
/// assert_eq!(permit.map(|permit| permit.principal().api_key_name.clone()), Ok(Some("build-bot".into())));
///
/// let denial = enforcer.authorize(&Call::tool("status", None), &Ok(CallerCredential::Anonymous)).await.unwrap_err();
/// assert_eq!(denial.reason(), DenyReason::BadgeMissing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # fn futures_executor_block_on<T>(work: impl Future<Output = T>) -> T {
/// #     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Enforcer {
    config: GuardConfig,
}

impl Enforcer {
    /// An enforcer for `config`; records that the policy was loaded, with its digest.
    #[must_use]
    pub fn new(config: GuardConfig) -> Self {
        let enforcer = Self { config };
        let now = enforcer.config.clock().now();
        let record = Record::PolicyLoaded(PolicyLoadedRecord::new(
            EvidenceId::generate(now),
            now,
            enforcer.config.policy().version().to_owned(),
            enforcer.config.digest().to_owned(),
            enforcer.config.profile().as_str(),
        ));
        enforcer.append_now(&record);
        enforcer
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &GuardConfig {
        &self.config
    }

    /// Decides one call and records the decision: in one record, or, where callers who are not authenticated have used up
    /// their share, as one more in the count of a coalesced record. An allowed call always has its own.
    ///
    /// With strict evidence, or a requirement of durable evidence, the record is durable before this returns a permit.
    /// Cancel safe: a call that is dropped before its decision leaves a record that says so, or is counted; a permit that
    /// is dropped leaves its outcome.
    ///
    /// # Errors
    /// A [`Denial`] with its reason; a failure to decide or to record is one too.
    pub async fn authorize(&self, call: &Call<'_>, credential: &PresentedCredential) -> Result<Permit, Denial> {
        self.authorize_as(call, credential, Recording::Call).await
    }

    pub(crate) async fn authorize_as(
        &self,
        call: &Call<'_>,
        credential: &PresentedCredential,
        recording: Recording,
    ) -> Result<Permit, Denial> {
        let undecided = self.begin(*call, credential, recording);
        let caller = self.identify(credential).await;
        undecided.settle(call, &caller).await
    }

    /// Takes the place of a call in the evidence, if there is one. From here on the call leaves a record or is counted, also
    /// when it is dropped.
    pub(crate) fn begin<'a>(
        &'a self,
        call: Call<'a>,
        credential: &'a PresentedCredential,
        recording: Recording,
    ) -> Undecided<'a> {
        let trace = self.trace_of(self.places(&call, recording));
        Undecided { enforcer: self, call, credential, recording, trace }
    }

    /// The places that a call needs: one for its decision, one for its outcome.
    pub(super) fn places(&self, call: &Call<'_>, recording: Recording) -> u32 {
        if self.records_outcome(call, recording) { 2 } else { 1 }
    }

    /// [`authorize`](Self::authorize) for code that wants `?`.
    ///
    /// # Errors
    /// A [`GuardError`] that wraps the denial.
    pub async fn require(&self, call: &Call<'_>, credential: &PresentedCredential) -> Result<Permit, GuardError> {
        self.authorize(call, credential).await.map_err(GuardError::from)
    }

    /// The decision that [`authorize`](Self::authorize) would take, without a record: for lists.
    pub async fn would_allow(&self, call: &Call<'_>, credential: &PresentedCredential) -> bool {
        self.allows(call, &self.identify(credential).await)
    }

    /// Who presents this credential, without a decision or a record: for sessions.
    ///
    /// Issuers that only some tools trust count here too, since owning a session opens no tool.
    ///
    /// # Errors
    /// The reason why the credential does not count.
    pub async fn authenticate(&self, credential: &PresentedCredential) -> Result<Principal, DenyReason> {
        self.identify(credential).await.principal()
    }

    /// Records something that is no decision: a task ended, a session was refused. Never waits; a failure is logged.
    pub fn notice(&self, name: &'static str, members: Vec<(&'static str, String)>) {
        let now = self.config.clock().now();
        self.append_now(&Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, name, members)));
    }

    /// [`notice`](Self::notice) that waits, within the log's limit, until the record is on stable storage.
    #[cfg(feature = "layer")]
    pub(crate) async fn notice_durably(
        &self,
        name: &'static str,
        members: Vec<(&'static str, String)>,
    ) -> Result<(), AppendError> {
        let now = self.config.clock().now();
        let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, name, members));
        let log = self.config.evidence();
        let mut place = recorder::within(log.wait_limit(), log.reserve_wait(1)).await?;
        let mut ticket = log.append_in_haste(&mut place, &record)?;
        recorder::within(log.wait_limit(), ticket.durable()).await
    }

    /// A keyed hash that stands for `text` in notices, so that equal values can be joined and none can be read.
    #[must_use]
    pub fn pseudonym(&self, text: &str) -> String {
        self.config.evidence().keyed_hash("notice", text.as_bytes())
    }

    pub(super) fn now(&self) -> SystemTime {
        self.config.clock().now()
    }

    pub(crate) fn now_unix(&self) -> UnixSeconds {
        self.config.clock().now_unix()
    }
}
