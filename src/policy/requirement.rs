//! What a caller must show before a tool runs, and its form in a tool's own metadata.

use serde_json::{Map, Value};

use crate::identity::trust_level::TrustLevel;

/// The largest number of additional issuers one requirement may name: each is compared on every call.
pub const MAX_ADDITIONAL_ISSUERS: usize = 64;

/// What a caller must show to use a tool.
///
/// Made by one of three constructors and refined by methods that each say what they add. Anonymous callers are let in
/// by [`anonymous`](Self::anonymous) and by nothing else; "no trust level" satisfies no minimum.
///
/// ```
/// use rmcp_guard::identity::trust_level::TrustLevel;
/// use rmcp_guard::policy::ToolRequirement;
///
/// let list = ToolRequirement::anonymous();
/// let read = ToolRequirement::min_trust(TrustLevel::Registered);
/// let delete = ToolRequirement::min_trust(TrustLevel::OrganizationValidated).durable_evidence();
/// assert!(list.is_anonymous() && !read.is_anonymous());
/// assert!(delete.is_durable_evidence());
/// ```
///
/// # Beside the tool
///
/// A requirement can also travel in the tool's own metadata, next to the code it protects. The guard reads it from the
/// handler's tool list, lets it [tighten](Self::tighten) the rule and never loosen it, and removes it from
/// `tools/list`. `#[tool(meta = ..)]` of rmcp 3.11 takes an expression of type `rmcp::model::MetaObject`, so it ends in
/// `.to_meta().into()`:
///
/// ```
/// # use rmcp_guard::identity::trust_level::TrustLevel;
/// use rmcp::{tool, tool_router};
/// use rmcp_guard::policy::ToolRequirement;
///
/// struct Files;
///
/// #[tool_router]
/// impl Files {
///     /// Deletes one file.
///     #[tool(meta = ToolRequirement::min_trust(TrustLevel::OrganizationValidated).to_meta().into())]
///     async fn delete_file(&self) -> String {
///         "deleted".to_owned()
///     }
/// }
///
/// let tool = Files::delete_file_tool_attr();
/// let beside = ToolRequirement::from_meta(tool.meta.as_ref().unwrap())?;
/// assert_eq!(beside, Some(ToolRequirement::min_trust(TrustLevel::OrganizationValidated)));
/// # let _ = Files::tool_router();
/// # Ok::<(), rmcp_guard::policy::RequirementError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of its own in metadata and in the file form")]
pub struct ToolRequirement {
    // INVARIANT: `anonymous` excludes `min_level` and `badge`; every constructor and method keeps it.
    anonymous: bool,
    min_level: Option<TrustLevel>,
    badge: bool,
    durable: bool,
    unbound: bool,
    // sorted, without duplicates
    issuers: Vec<String>,
}

impl ToolRequirement {
    /// The member of a tool's `_meta` that holds its requirement.
    pub const META_KEY: &'static str = "rmcp-guard/requirement";

    const fn new(anonymous: bool, min_level: Option<TrustLevel>) -> Self {
        Self { anonymous, min_level, badge: false, durable: false, unbound: false, issuers: Vec::new() }
    }

    /// Anybody, also without a credential. A credential that is presented must still verify.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self::new(true, None)
    }

    /// Any caller that the configuration knows: a badge of any accepted level, or a listed API key.
    #[must_use]
    pub const fn authenticated() -> Self {
        Self::new(false, None)
    }

    /// A badge of at least `level`. Level 0 asks for a badge too, if only a self-signed one.
    #[must_use]
    pub const fn min_trust(level: TrustLevel) -> Self {
        Self::new(false, Some(level))
    }

    /// A badge, not an API key; callers without a credential are no longer let in.
    #[must_use]
    pub fn require_badge(self) -> Self {
        Self { badge: true, anonymous: false, ..self }
    }

    /// The decision is durable before the tool runs, whatever the log's mode.
    #[must_use]
    pub fn durable_evidence(self) -> Self {
        Self { durable: true, ..self }
    }

    /// The issuer `origin`, registered by `additional_issuer`, counts for this tool too, and for no other.
    #[must_use]
    pub fn trust_issuer(mut self, origin: impl Into<String>) -> Self {
        let origin = origin.into();
        if let Err(place) = self.issuers.binary_search(&origin) {
            self.issuers.insert(place, origin);
        }
        self
    }

    /// Badges that name no audience count for this tool; evidence then says `binding=none`.
    ///
    /// Such a badge works at every server that accepts it, so whoever sees it can present it here.
    #[must_use]
    pub fn allow_unbound_bearer(self) -> Self {
        Self { unbound: true, ..self }
    }

    /// Whether callers without a credential are let in.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// The lowest trust level that is let in, if a level is asked for at all.
    #[must_use]
    pub const fn min_level(&self) -> Option<TrustLevel> {
        self.min_level
    }

    /// Whether an API key is not enough.
    #[must_use]
    pub const fn is_badge_required(&self) -> bool {
        self.badge
    }

    /// Whether the decision must be durable before the tool runs.
    #[must_use]
    pub const fn is_durable_evidence(&self) -> bool {
        self.durable
    }

    /// Whether a badge without an audience counts.
    #[must_use]
    pub const fn is_unbound_bearer_allowed(&self) -> bool {
        self.unbound
    }

    /// The origins of the issuers that count for this tool beside the trusted ones, sorted.
    #[must_use]
    pub fn additional_issuers(&self) -> &[String] {
        &self.issuers
    }

    /// The stricter of the two in every field: whoever the result lets in, both let in.
    ///
    /// Permissions are intersected, so a requirement beside the tool that shall keep the rule's additional issuer or
    /// its `allow_unbound_bearer` has to repeat it.
    #[must_use]
    pub fn tighten(&self, other: &Self) -> Self {
        Self {
            anonymous: self.anonymous && other.anonymous,
            min_level: match (self.min_level, other.min_level) {
                (Some(one), Some(two)) => Some(one.max(two)),
                (Some(one), None) | (None, Some(one)) => Some(one),
                (None, None) => None,
            },
            badge: self.badge || other.badge,
            durable: self.durable || other.durable,
            unbound: self.unbound && other.unbound,
            issuers: self.issuers.iter().filter(|&origin| other.issuers.contains(origin)).cloned().collect(),
        }
    }

    /// The requirement as metadata of a tool: an object whose one member is [`META_KEY`](Self::META_KEY).
    #[must_use]
    pub fn to_meta(&self) -> Map<String, Value> {
        Map::from_iter([(Self::META_KEY.to_owned(), Value::Object(self.to_object()))])
    }

    /// The members that differ from [`authenticated`](Self::authenticated); also what the policy's digest covers.
    pub(crate) fn to_object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        if let Some(level) = self.min_level {
            object.insert("min_trust_level".to_owned(), level.as_u8().into());
        }
        for (name, flag) in [
            ("anonymous", self.anonymous),
            ("require_badge", self.badge),
            ("durable_evidence", self.durable),
            ("allow_unbound_bearer", self.unbound),
        ] {
            if flag {
                object.insert(name.to_owned(), true.into());
            }
        }
        if !self.issuers.is_empty() {
            object.insert("issuers".to_owned(), self.issuers.clone().into());
        }
        object
    }

    /// Reads the requirement from a tool's metadata; `Ok(None)` when there is none.
    ///
    /// # Errors
    /// [`RequirementError`] when the member exists but is not exactly what [`to_meta`](Self::to_meta) could have
    /// written: not an object, an unknown member, a wrong type, a level outside 0 to 4, a contradiction, or more than
    /// [`MAX_ADDITIONAL_ISSUERS`]. The guard then denies the tool: a requirement that is misspelt must not vanish.
    pub fn from_meta(meta: &Map<String, Value>) -> Result<Option<Self>, RequirementError> {
        let Some(value) = meta.get(Self::META_KEY) else { return Ok(None) };
        let object = value.as_object().ok_or(RequirementError)?;
        let mut requirement = Self::authenticated();
        for (name, value) in object {
            match name.as_str() {
                "min_trust_level" => requirement.min_level = Some(read_level(value)?),
                "anonymous" => requirement.anonymous = read_flag(value)?,
                "require_badge" => requirement.badge = read_flag(value)?,
                "durable_evidence" => requirement.durable = read_flag(value)?,
                "allow_unbound_bearer" => requirement.unbound = read_flag(value)?,
                "issuers" => requirement.issuers = read_issuers(value)?,
                _ => return Err(RequirementError),
            }
        }
        if requirement.anonymous && (requirement.badge || requirement.min_level.is_some()) {
            return Err(RequirementError);
        }
        Ok(Some(requirement))
    }
}

fn read_level(value: &Value) -> Result<TrustLevel, RequirementError> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok()).ok_or(RequirementError)?;
    TrustLevel::try_from(number).map_err(|_| RequirementError)
}

fn read_flag(value: &Value) -> Result<bool, RequirementError> {
    value.as_bool().ok_or(RequirementError)
}

fn read_issuers(value: &Value) -> Result<Vec<String>, RequirementError> {
    let items = value.as_array().filter(|items| items.len() <= MAX_ADDITIONAL_ISSUERS).ok_or(RequirementError)?;
    let mut issuers = items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or(RequirementError))
        .collect::<Result<Vec<_>, _>>()?;
    issuers.sort_unstable();
    issuers.dedup();
    Ok(issuers)
}

/// The requirement beside a tool is unreadable, so the tool is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requirement beside the tool is unreadable")]
#[non_exhaustive]
pub struct RequirementError;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(value: Value) -> Map<String, Value> {
        Map::from_iter([(ToolRequirement::META_KEY.to_owned(), value)])
    }

    fn samples() -> Vec<ToolRequirement> {
        let mut all = vec![ToolRequirement::anonymous(), ToolRequirement::authenticated()];
        all.extend(TrustLevel::ALL.map(ToolRequirement::min_trust));
        all.extend(all.clone().into_iter().map(ToolRequirement::require_badge));
        all.extend(all.clone().into_iter().map(ToolRequirement::durable_evidence));
        all.extend(all.clone().into_iter().map(ToolRequirement::allow_unbound_bearer));
        all.extend(
            all.clone().into_iter().map(|one| one.trust_issuer("https://b.example").trust_issuer("https://a.example")),
        );
        all
    }

    #[test]
    fn metadata_round_trips() {
        for requirement in samples() {
            assert_eq!(ToolRequirement::from_meta(&requirement.to_meta()), Ok(Some(requirement)));
        }
        assert_eq!(ToolRequirement::from_meta(&Map::new()), Ok(None));
    }

    /// Attack: a misspelt or forged requirement beside a tool is skipped, and the tool runs under the looser rule.
    #[test]
    fn s12_an_unreadable_requirement_is_an_error_not_an_absence() {
        for (name, value) in [
            ("null", json!(null)),
            ("text", json!("anonymous")),
            ("list", json!([])),
            ("unknown member", json!({ "min_trust": 3 })),
            ("upper case", json!({ "Min_Trust_Level": 3 })),
            ("level too high", json!({ "min_trust_level": 5 })),
            ("level negative", json!({ "min_trust_level": -1 })),
            ("level beyond a byte", json!({ "min_trust_level": 256 })),
            ("level fraction", json!({ "min_trust_level": 2.0 })),
            ("level text", json!({ "min_trust_level": "2" })),
            ("flag text", json!({ "require_badge": "true" })),
            ("flag number", json!({ "anonymous": 1 })),
            ("flag null", json!({ "durable_evidence": null })),
            ("issuers text", json!({ "issuers": "https://a.example" })),
            ("issuer number", json!({ "issuers": [1] })),
            ("too many issuers", json!({ "issuers": vec!["https://a.example"; MAX_ADDITIONAL_ISSUERS + 1] })),
            ("anonymous with level", json!({ "anonymous": true, "min_trust_level": 0 })),
            ("anonymous with badge", json!({ "anonymous": true, "require_badge": true })),
        ] {
            assert_eq!(ToolRequirement::from_meta(&meta(value)), Err(RequirementError), "{name}");
        }
    }

    #[test]
    fn a_requirement_asks_for_what_was_said_and_no_more() {
        let flags = |one: &ToolRequirement| {
            [one.is_anonymous(), one.is_badge_required(), one.is_durable_evidence(), one.is_unbound_bearer_allowed()]
        };
        let known = ToolRequirement::authenticated;
        for (requirement, want) in [
            (ToolRequirement::anonymous(), [true, false, false, false]),
            (known(), [false; 4]),
            (ToolRequirement::anonymous().require_badge(), [false, true, false, false]),
            (known().durable_evidence(), [false, false, true, false]),
            (known().allow_unbound_bearer(), [false, false, false, true]),
        ] {
            assert_eq!(flags(&requirement), want, "{requirement:?}");
            assert_eq!((requirement.min_level(), requirement.additional_issuers()), (None, &[][..]));
        }
        for level in TrustLevel::ALL {
            let requirement = ToolRequirement::min_trust(level);
            assert_eq!((requirement.min_level(), flags(&requirement)), (Some(level), [false; 4]));
        }
        let two = known().trust_issuer("https://b.example").trust_issuer("https://a.example");
        assert_eq!(two.additional_issuers(), ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn an_empty_object_asks_for_a_known_caller() {
        assert_eq!(ToolRequirement::from_meta(&meta(json!({}))), Ok(Some(ToolRequirement::authenticated())));
    }

    /// Attack: metadata that a tool's author controls reopens what the operator closed.
    #[test]
    fn s12_tightening_takes_the_stricter_of_both_in_each_field() {
        let level = ToolRequirement::min_trust;
        for (name, one, two, want) in [
            (
                "anonymous needs both",
                ToolRequirement::anonymous(),
                ToolRequirement::authenticated(),
                ToolRequirement::authenticated(),
            ),
            (
                "a level beats anonymous",
                level(TrustLevel::Registered),
                ToolRequirement::anonymous(),
                level(TrustLevel::Registered),
            ),
            (
                "higher level",
                level(TrustLevel::SelfSigned),
                level(TrustLevel::ExtendedValidated),
                level(TrustLevel::ExtendedValidated),
            ),
            (
                "a level beats none",
                ToolRequirement::authenticated(),
                level(TrustLevel::SelfSigned),
                level(TrustLevel::SelfSigned),
            ),
            (
                "badge or",
                ToolRequirement::anonymous(),
                ToolRequirement::authenticated().require_badge(),
                ToolRequirement::authenticated().require_badge(),
            ),
            (
                "durable or",
                ToolRequirement::anonymous().durable_evidence(),
                ToolRequirement::anonymous(),
                ToolRequirement::anonymous().durable_evidence(),
            ),
            (
                "unbound and",
                level(TrustLevel::Registered).allow_unbound_bearer(),
                level(TrustLevel::Registered),
                level(TrustLevel::Registered),
            ),
            (
                "issuers intersected",
                level(TrustLevel::Registered).trust_issuer("https://a.example").trust_issuer("https://b.example"),
                level(TrustLevel::Registered).trust_issuer("https://b.example").trust_issuer("https://c.example"),
                level(TrustLevel::Registered).trust_issuer("https://b.example"),
            ),
        ] {
            assert_eq!(one.tighten(&two), want, "{name}");
            assert_eq!(two.tighten(&one), want, "{name}, the other way round");
        }
    }

    #[test]
    fn tightening_is_idempotent_and_keeps_anonymous_exclusive() {
        for one in samples() {
            assert_eq!(one.tighten(&one), one);
            for two in samples() {
                let both = one.tighten(&two);
                assert_eq!(both.tighten(&one), both);
                assert!(!both.is_anonymous() || (both.min_level().is_none() && !both.is_badge_required()));
            }
        }
    }
}
