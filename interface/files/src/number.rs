//! Numbers, addresses, values and times as a file may write them. Parsing only; ranges are for the one who reads.

use schemars::JsonSchema;
use serde::de::{Error, SeqAccess};

use crate::{At, by_look, fixed_schema};

/// A time such as `250us`, `10ms`, `1.5s` or `2min`.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("pattern" = r"^[0-9]+(\.[0-9]+)?\s*(us|ms|s|min)$"))]
pub struct TimeText(pub String);

/// A whole number; for coils also `true` and `false`.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub i64);

/// One address (`0`) or a range of addresses, both ends included (`"0..9"`).
#[derive(Debug, Clone)]
pub enum Addresses {
    One(i64),
    Text(String),
}

/// One value for each address of the key, or a list of values from there on.
#[derive(Debug, Clone)]
pub enum Values {
    One(Number),
    List(Vec<At<Number>>),
}

by_look!(Number, "a whole number", {
    fn visit_i64<E: Error>(self, n: i64) -> Result<Number, E> {
        Ok(Number(n))
    }
    fn visit_bool<E: Error>(self, b: bool) -> Result<Number, E> {
        Ok(Number(b.into()))
    }
});

by_look!(Addresses, "an address or a range such as \"0..9\"", {
    fn visit_i64<E: Error>(self, n: i64) -> Result<Addresses, E> {
        Ok(Addresses::One(n))
    }
    fn visit_str<E: Error>(self, s: &str) -> Result<Addresses, E> {
        Ok(Addresses::Text(s.to_owned()))
    }
});

by_look!(Values, "a whole number or a list of them", {
    fn visit_i64<E: Error>(self, n: i64) -> Result<Values, E> {
        Ok(Values::One(Number(n)))
    }
    fn visit_bool<E: Error>(self, b: bool) -> Result<Values, E> {
        Ok(Values::One(Number(b.into())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
        let mut list = Vec::new();
        while let Some(n) = seq.next_element()? {
            list.push(n);
        }
        Ok(Values::List(list))
    }
});

fixed_schema!(
    Number: {"type": ["integer", "boolean"]},
    Addresses: {"type": ["integer", "string"], "pattern": r"^[0-9]+(\.\.[0-9]+)?$", "minimum": 0, "maximum": 65535},
    Values: {"type": ["integer", "boolean", "array"], "items": {"type": ["integer", "boolean"]}}
);
