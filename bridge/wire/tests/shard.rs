//! A core on a real shard between two virtual ports. All else is tested in virtual time.

#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use hilrig_port::{Direction, LinkOptions, OpenPort, PortUrl, Runtime, Shard};
use hilrig_wire::{CoreSpec, FaultRule, LinkCore};

#[test]
fn a_fault_comes_at_its_time_though_nobody_speaks_and_others_at_their_bytes() {
    let tmp = tempfile::tempdir().unwrap();
    let runtime = Runtime::at(tmp.path().to_owned()).unwrap();
    let open = |url: &str| OpenPort::open(&url.parse::<PortUrl>().unwrap(), &runtime, &|| false).unwrap();
    let (a, b) = (open("pty:a"), open("pty:b"));
    let far =
        |port: &OpenPort| OpenOptions::new().read(true).write(true).open(port.far_end().unwrap()).unwrap();
    let (mut sender, mut receiver) = (far(&a), far(&b));
    let rule = |text: &str| serde_json::from_str::<FaultRule>(text).unwrap();
    let faults = vec![
        rule(
            r#"{"id":"tick","direction":"a->b","when":{"time":"5ms"},"effect":{"insert":{"text":"tick\n"}}}"#,
        ),
        rule(r#"{"id":"y","direction":"a->b","when":{"pattern":"78"},"effect":{"corrupt":{"mask":"01"}}}"#),
    ];
    let core = LinkCore::new(CoreSpec { faults, ..CoreSpec::default() }).unwrap();
    let shard = Shard::start("wire").unwrap();
    let options = LinkOptions { conduit: Some(Box::new(core)), ..LinkOptions::default() };
    let link = shard.add_link(a, b, options).unwrap();
    let (told, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(n @ 1..) = receiver.read(&mut buffer) {
            if told.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let wait = || lines.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(wait(), b"tick\n");
    sender.write_all(b"axb\n").unwrap();
    assert_eq!(wait(), b"ayb\n");
    let report = shard.with_conduit(&link, |core: &mut LinkCore, _| core.report()).unwrap();
    assert_eq!(report.iter().map(|r| r.fired).collect::<Vec<_>>(), [1, 1]);
    let d = &link.stats().directions[Direction::AToB.index()];
    assert_eq!((d.bytes_in, d.inserted_bytes, d.bytes_out), (4, 5, 9));
}
