//! Virtual ports over real PTYs: exact bytes, comings and goings, what applications set.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{App, open_pty, pattern, runtime, wait_until};
use hilrig_port::Shard;

#[test]
fn bytes_arrive_exactly_in_both_directions() {
    let (_tmp, runtime) = runtime();
    let (a, far_a, _) = open_pty("a", &runtime);
    let (b, far_b, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(a, b, None).unwrap();
    let (app_a, app_b) = (App::open(&far_a), App::open(&far_b));
    let (to_b, to_a) = (pattern(300_000, 1), pattern(300_000, 2));
    std::thread::scope(|s| {
        s.spawn(|| app_a.write(&to_b));
        s.spawn(|| app_b.write(&to_a));
        let got = s.spawn(|| app_b.read(to_b.len()));
        assert!(app_a.read(to_a.len()) == to_a, "A got other bytes than B sent");
        assert!(got.join().unwrap() == to_b, "B got other bytes than A sent");
    });
    let stats = link.stats();
    for d in &stats.directions {
        assert_eq!((d.bytes_in, d.bytes_out, d.discarded_bytes, d.pending), (300_000, 300_000, 0, 0));
        assert!(d.latency.count() > 0);
    }
}
