//! DID documents: the keys that a DID vouches for (DID Core §5).

use serde_json::{Map, Value};

use crate::encoding::parse_unique_json;
use crate::identity::did::{Did, key};
use crate::identity::key::PublicKey;

/// Largest DID document that is read; real ones are a few kilobytes.
pub const MAX_DID_DOCUMENT_BYTES: usize = 64 * 1024;

/// Most verification methods in a document: each costs a point decompression and is compared with all others.
pub const MAX_VERIFICATION_METHODS: usize = 100;

/// The bytes are not a document of the DID. The message names the rule that they break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable DID document: {0}")]
#[non_exhaustive]
pub struct DidDocumentError(&'static str);

/// The Ed25519 keys of a DID document that was checked against its DID.
#[derive(Clone, Debug)]
pub struct DidDocument {
    did: Did,
    methods: Vec<VerificationMethod>,
}

#[derive(Clone, Debug)]
struct VerificationMethod {
    fragment: String,
    /// `None` when the key type is not ours or the controller is somebody else: present, but of no use.
    key: Option<PublicKey>,
    authentication: bool,
}

impl DidDocument {
    /// Reads the document of `did`: JSON of at most [`MAX_DID_DOCUMENT_BYTES`] and [`MAX_VERIFICATION_METHODS`] with
    /// unique member names, whose `id` is `did`. Methods with another controller or key type are passed over.
    ///
    /// # Errors
    /// [`DidDocumentError`] when a rule is broken, two methods with one id included.
    pub fn parse(did: &Did, bytes: &[u8]) -> Result<Self, DidDocumentError> {
        if bytes.len() > MAX_DID_DOCUMENT_BYTES {
            return Err(DidDocumentError("larger than 64 KiB"));
        }
        let document = parse_unique_json(bytes).map_err(|_| DidDocumentError("not JSON with unique member names"))?;
        let document = document.as_object().ok_or(DidDocumentError("not a JSON object"))?;
        let id = document.get("id").and_then(Value::as_str).and_then(|id| Did::parse(id).ok());
        if id.as_ref() != Some(did) {
            return Err(DidDocumentError("its `id` is not the DID"));
        }
        let mut parsed = Self { did: did.clone(), methods: Vec::new() };
        for entry in list(document, "verificationMethod")? {
            let method = entry.as_object().ok_or(DidDocumentError("a verification method is not an object"))?;
            parsed.add(method, false)?;
        }
        for entry in list(document, "authentication")? {
            match entry {
                Value::Object(method) => parsed.add(method, true)?,
                Value::String(reference) => {
                    if let Some(fragment) = parsed.fragment(reference).map(str::to_owned) {
                        let named = parsed.methods.iter_mut().filter(|method| method.fragment == fragment);
                        named.for_each(|method| method.authentication = true);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                    return Err(DidDocumentError("an entry of `authentication` is neither a reference nor an object"));
                }
            }
        }
        Ok(parsed)
    }

    /// The document that follows from a `did:key`: its one key, valid for authentication. `None` for `did:web`.
    #[must_use]
    pub fn of_did_key(did: &Did) -> Option<Self> {
        let key = did.public_key()?.clone();
        let method = VerificationMethod { fragment: key::to_multibase(&key), key: Some(key), authentication: true };
        Some(Self { did: did.clone(), methods: vec![method] })
    }

    /// The DID whose document this is.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// The keys that are of use, in the document's order: the method's full DID URL, its key, and whether the key counts
    /// for authentication.
    pub fn methods(&self) -> impl Iterator<Item = (String, &PublicKey, bool)> {
        self.methods.iter().filter_map(|method| {
            let key = method.key.as_ref()?;
            Some((format!("{}#{}", self.did, method.fragment), key, method.authentication))
        })
    }

    /// The key of the verification method with the full DID URL `kid`.
    #[must_use]
    pub fn method(&self, kid: &str) -> Option<&PublicKey> {
        self.find(kid)?.key.as_ref()
    }

    /// The key of the verification method with the full DID URL `kid`, only if the document lists it in
    /// `authentication` (DID Core §5.3.1).
    #[must_use]
    pub fn authentication_method(&self, kid: &str) -> Option<&PublicKey> {
        self.find(kid).filter(|method| method.authentication)?.key.as_ref()
    }

    fn find(&self, kid: &str) -> Option<&VerificationMethod> {
        // Only a document may write an id relative to itself; a key id from elsewhere has to say whose key it is.
        let fragment = self.fragment(kid).filter(|_| !kid.starts_with('#'))?;
        self.methods.iter().find(|method| method.fragment == fragment)
    }

    /// The fragment of a DID URL of this document's DID, written in full or as `#fragment`.
    fn fragment<'a>(&self, url: &'a str) -> Option<&'a str> {
        let (did, fragment) = url.split_once('#')?;
        let own = did.is_empty() || self.did.is_named_by(did);
        (own && !fragment.is_empty()).then_some(fragment)
    }

    fn add(&mut self, method: &Map<String, Value>, authentication: bool) -> Result<(), DidDocumentError> {
        let id =
            method.get("id").and_then(Value::as_str).ok_or(DidDocumentError("a verification method has no `id`"))?;
        let Some(fragment) = self.fragment(id).map(str::to_owned) else { return Ok(()) };
        if self.methods.iter().any(|known| known.fragment == fragment) {
            return Err(DidDocumentError("two verification methods have one `id`"));
        }
        if self.methods.len() >= MAX_VERIFICATION_METHODS {
            return Err(DidDocumentError("more than 100 verification methods"));
        }
        let controller = method.get("controller").and_then(Value::as_str).and_then(|did| Did::parse(did).ok());
        let key = read_key(method).filter(|_| controller.as_ref() == Some(&self.did));
        self.methods.push(VerificationMethod { fragment, key, authentication });
        Ok(())
    }
}

/// The array member `name`, or nothing if there is none.
fn list<'a>(document: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], DidDocumentError> {
    match document.get(name) {
        None => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(DidDocumentError("`verificationMethod` or `authentication` is not an array")),
    }
}

/// The Ed25519 key of a method, by its type; other types may hold either form. Two forms have to agree.
fn read_key(method: &Map<String, Value>) -> Option<PublicKey> {
    let multibase = || key::parse_multibase(method.get("publicKeyMultibase")?.as_str()?).ok();
    let jwk = || PublicKey::from_jwk(method.get("publicKeyJwk")?).ok();
    match method.get("type").and_then(Value::as_str)? {
        "Ed25519VerificationKey2020" | "Ed25519VerificationKey2018" => multibase(),
        "JsonWebKey2020" => jwk(),
        _ if method.contains_key("publicKeyMultibase") && method.contains_key("publicKeyJwk") => {
            multibase().filter(|key| jwk().as_ref() == Some(key))
        }
        _ => multibase().or_else(jwk),
    }
}
