//! Values with the place where they stand in the file. Never `flatten`, `untagged` or internally tagged enums around
//! them, which lose the places.

use std::collections::BTreeMap;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_spanned::Spanned;

/// A value and where it stands in the file.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl At<String> {
    /// The place of a part of the text. A literal without escapes has one byte a byte, so that the very character can be
    /// shown; of others all is.
    pub fn part(&self, part: Range<usize>) -> Range<usize> {
        let start = match self.span.len().checked_sub(self.value.len()) {
            Some(0) => self.span.start,
            Some(2) => self.span.start + 1,
            _ => return self.span.clone(),
        };
        start + part.start..start + part.end.max(part.start)
    }
}

/// The schema of a wrapper is the schema of what it wraps.
macro_rules! schema_of_inner {
    ($($wrapper:ident => $inner:ty),*) => {$(
        impl<T: JsonSchema> JsonSchema for $wrapper<T> {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <$inner>::schema_name()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<$inner>()
            }
        }
    )*};
}
schema_of_inner!(At => T, Entries => BTreeMap<String, T>);

/// A table with free keys, in the order of the file.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub Vec<(At<String>, At<T>)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(At<String>, At<T>)> = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                entries.sort_by_key(|(key, _)| key.span.start);
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Read(std::marker::PhantomData))
    }
}
