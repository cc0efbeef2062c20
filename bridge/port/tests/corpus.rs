//! Replays the corpora of the fuzz targets.

#![allow(clippy::unwrap_used)]

use hilrig_tests::replay;

#[path = "../../../tests/fuzz/bodies/port_url.rs"]
mod port_url;
#[path = "../../../tests/fuzz/bodies/telnet.rs"]
mod telnet;

#[test]
fn corpus_of_the_port_url() {
    replay("port_url", port_url::run);
}

#[test]
fn corpus_of_telnet() {
    replay("telnet", telnet::run);
}
