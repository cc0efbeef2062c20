//! Port URLs and character formats as files write them. Opens nothing.

use hilrig_files::{At, Problems};
use hilrig_port::{Format, PortUrl};

/// A port that can be opened; what is wrong becomes a problem.
pub fn port_url(text: &At<String>, problems: &mut Problems<'_>) -> Option<PortUrl> {
    match text.value.parse() {
        Ok(PortUrl::Later { scheme, .. }) => {
            let label = format!("{scheme}: is not in this version");
            problems.add(&text.span, "this port cannot be opened yet", label);
        }
        Ok(url) => return Some(url),
        Err(why) => {
            let span = text.part(why.at..text.value.len());
            problems.add(&span, "this is not a port URL", why.message);
        }
    }
    None
}

/// Data bits, parity and stop bits such as `8N1`; what is wrong becomes a problem.
pub fn character_format(text: &At<String>, problems: &mut Problems<'_>) -> Option<Format> {
    match text.value.parse() {
        Ok(format) => Some(format),
        Err(why) => {
            let why: String = why;
            let label = why.split_once("; ").map_or(why.as_str(), |(_, form)| form);
            problems.add(&text.span, format!("`{}` is not a character format", text.value), label);
            None
        }
    }
}
