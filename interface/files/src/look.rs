//! Types that a file may write in several ways: what they say to serde and schemars. Where they are used, both are
//! dependencies.

/// `Deserialize` by looking at what the value is, inside [`At`](crate::At), so that its place is kept.
#[macro_export]
macro_rules! by_look {
    ($type:ty, $expecting:literal, { $($method:tt)* }) => {
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Look;
                impl<'de> ::serde::de::Visitor<'de> for Look {
                    type Value = $type;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str($expecting)
                    }

                    $($method)*
                }
                deserializer.deserialize_any(Look)
            }
        }
    };
}

/// `JsonSchema` that is written out where the type is used.
#[macro_export]
macro_rules! fixed_schema {
    ($($type:ident: $schema:tt),*) => {$(
        impl ::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!($schema)
            }
        }
    )*};
}
