//! Any text as a port URL: either it prints as something that parses to the same, or its error points into it.

use hilrig_port::PortUrl;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<PortUrl>() {
        Ok(url) => assert_eq!(url.to_string().parse::<PortUrl>(), Ok(url)),
        Err(error) => {
            assert!(text.is_char_boundary(error.at), "{error:?}");
            assert!(!error.to_string().is_empty() && !error.sentence().contains('\n'));
        }
    }
}
