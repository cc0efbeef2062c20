//! One request line to its envelope, and one reply to its line. Knows no method.

use std::borrow::Cow;
use std::fmt;

use hilrig_contract::{ContractError, ErrorCode, INTERFACE_VERSION, MAX_DEPTH};
use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A request whose JSON is sound. The values are not looked at yet: their types are checked in the contract's order.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    /// As it came.
    pub id: Option<&'a RawValue>,
    pub method: Option<&'a RawValue>,
    pub params: Option<&'a RawValue>,
    pub token: Option<&'a RawValue>,
    pub version: Option<&'a RawValue>,
}

/// Strips what may stand around a request: a byte order mark and white space.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii()
}

/// Reads a trimmed line. Duplicate keys: the last wins; unknown keys are ignored.
pub(crate) fn parse(line: &[u8]) -> Result<Envelope<'_>, ContractError> {
    let not_json = |why: String| {
        ContractError::new(ErrorCode::BadArg, format!("the request is not a JSON object: {why}"))
            .with("reason", "json")
    };
    let text = std::str::from_utf8(line)
        .map_err(|e| not_json(format!("byte {} is not UTF-8", e.valid_up_to() + 1)))?;
    check_depth(line)?;
    if !text.starts_with('{') {
        return Err(not_json("it must start with {".to_owned()));
    }
    serde_json::from_str(text).map_err(|e| not_json(e.to_string()))
}

/// Nesting is counted before anything is parsed, so that no parser recurses deeper than allowed.
fn check_depth(line: &[u8]) -> Result<(), ContractError> {
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    for &byte in line {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ContractError::new(
                        ErrorCode::BadArg,
                        format!("the request is nested deeper than {MAX_DEPTH} levels"),
                    )
                    .with("reason", "depth"));
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    let value: &'de RawValue = map.next_value()?;
                    match &*key.0 {
                        "id" => envelope.id = Some(value),
                        "method" => envelope.method = Some(value),
                        "params" => envelope.params = Some(value),
                        "token" => envelope.token = Some(value),
                        "interfaceVersion" => envelope.version = Some(value),
                        _ => {}
                    }
                }
                Ok(envelope)
            }
        }
        from.deserialize_map(Keys)
    }
}

/// A key, borrowed unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: de::Error>(self, s: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(s)))
            }

            fn visit_str<E: de::Error>(self, s: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(s.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

impl Envelope<'_> {
    pub fn token(&self) -> Option<String> {
        serde_json::from_str(self.token?.get()).ok()
    }

    /// A request may say which major it was written for.
    pub fn check_version(&self) -> Result<(), ContractError> {
        let Some(raw) = self.version else { return Ok(()) };
        let major = match serde_json::from_str(raw.get()) {
            Ok(Value::Null) => return Ok(()),
            Ok(Value::Number(n)) => n.as_u64().or_else(|| n.as_f64().map(|f| f.trunc() as u64)),
            Ok(Value::String(s)) => s.split('.').next().and_then(|major| major.trim().parse().ok()),
            _ => None,
        };
        if major == Some(INTERFACE_VERSION) {
            return Ok(());
        }
        let given: String = raw.get().chars().take(40).collect();
        Err(ContractError::new(
            ErrorCode::BadArg,
            format!("interfaceVersion {given} is not served here; this is version {INTERFACE_VERSION}"),
        )
        .with("param", "interfaceVersion")
        .with("reason", "interfaceVersion"))
    }

    pub fn method(&self) -> Result<String, ContractError> {
        let method = self.method.and_then(|raw| serde_json::from_str(raw.get()).ok());
        method.ok_or_else(|| ContractError::bad_param("method", "missing required key: method"))
    }

    /// `params`, if present an object; its `args`, if present an object too.
    pub fn params(&self) -> Result<Map<String, Value>, ContractError> {
        let Some(raw) = self.params else { return Ok(Map::new()) };
        if !raw.get().starts_with('{') {
            return Err(ContractError::bad_param("params", "params must be an object"));
        }
        // Sound JSON of bounded depth, so what is left to fail is a number that no float holds.
        let params: Map<String, Value> = serde_json::from_str(raw.get())
            .map_err(|e| ContractError::bad_param("params", format!("params: {e}")))?;
        match params.get("args") {
            None | Some(Value::Object(_)) => Ok(params),
            Some(_) => Err(ContractError::bad_param("args", "params.args must be an object")),
        }
    }
}

/// Appends one reply line: the response is JSON already.
pub(crate) fn write_reply(
    out: &mut Vec<u8>,
    id: Option<&RawValue>,
    outcome: &Result<Vec<u8>, ContractError>,
) {
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        match id.get() {
            // White space inside an array or object may be a carriage return, which some clients end a line at.
            text if text.contains('\r') => out.extend(text.bytes().filter(|b| *b != b'\r')),
            text => out.extend_from_slice(text.as_bytes()),
        }
        out.push(b',');
    }
    match outcome {
        Ok(response) => {
            out.extend_from_slice(b"\"ok\":true,\"response\":");
            out.extend_from_slice(response);
        }
        Err(error) => {
            out.extend_from_slice(b"\"ok\":false,\"error\":");
            write_json(out, error);
        }
    }
    out.extend_from_slice(b"}\n");
}

pub(crate) fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}
