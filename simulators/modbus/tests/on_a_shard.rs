//! The cores on a real shard with real ports: a master over Modbus TCP, a gateway, a virtual port as its line, a slave.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hilrig_modbus::{Exchange, Framing, Gateway, GatewayPlan, Master, Outcome, Poll, Slave, Source, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{OpenPort, PortUrl, Runtime, Shard};
use hilrig_tests::PATIENCE;

#[test]
fn a_gateway_stands_between_tcp_and_a_line() {
    let tmp = tempfile::tempdir().unwrap();
    let runtime = Runtime::at(tmp.path().to_owned()).unwrap();
    let open = |url: &str| OpenPort::open(&url.parse::<PortUrl>().unwrap(), &runtime, &|| false).unwrap();
    let shard = Shard::start("test").unwrap();
    // A line that a busy machine may interrupt.
    let timing = Timing::new(115_200, "8N1".parse().unwrap()).tolerance(Duration::from_millis(80));

    let mut unit = Unit::new();
    unit.define(Table::HoldingRegisters, 0, 100..150).unwrap();
    let mut plant = Plant::default();
    plant.add_unit(17, unit).unwrap();
    let line = open("pty:line");
    let far = line.far_end().unwrap().to_str().unwrap().to_owned();
    let slave = shard.add_station(open(&far), Box::new(Slave::new(timing, Shared::new(plant)))).unwrap();

    let plan = GatewayPlan {
        port: "lan".to_owned(),
        line: "line".to_owned(),
        timeout: PATIENCE,
        turnaround: Duration::from_millis(100),
        units: vec![(1, 17)],
        max_callers: 4,
        queue: 8,
    };
    let listener = open("tcp-listen:127.0.0.1:0");
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::new(timing, &plan);
    let stats = gateway.stats();
    let server = shard.add_server(listener, Some(line), Box::new(gateway)).unwrap();

    let exchange = Exchange::read(1, Table::HoldingRegisters, 5, 3).unwrap();
    let poll = Poll::new(exchange).timeout(PATIENCE * 2);
    let (master, mut results) = Master::new(timing, [poll.clone()], 1 << 16);
    let master = master.framing(Framing::Tcp);
    let caller = shard.add_station(open(&format!("tcp:{address}")), Box::new(master)).unwrap();
    // Another caller, by hand.
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for n in 0..20 {
        client.write_all(&[0, n, 0, 0, 0, 6, 1, 3, 0, n, 0, 1]).unwrap();
        let mut answer = [0; 11];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0, n, 0, 0, 0, 5, 1, 3, 2, 0, 100 + n]);
    }
    let end = Instant::now() + PATIENCE;
    let mut good = 0;
    while good < 20 {
        assert!(Instant::now() < end, "only {good} results came, {:?}", stats.totals());
        match results.pop() {
            Some(r) => {
                assert_eq!((r.source, r.outcome), (Source::Poll(0), Outcome::Ok));
                assert!(r.values.iter().eq(105..108));
                good += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    assert!(shard.remove_station(caller).is_some());
    drop(client);
    while server.callers() > 0 {
        assert!(Instant::now() < end, "callers stay");
        std::thread::yield_now();
    }
    let totals = stats.totals();
    assert_eq!((totals.callers, totals.bad_headers, totals.busy, totals.no_path), (2, 0, 0, 0), "{totals:?}");
    assert_eq!((totals.no_answer, totals.exceptions), (0, 0), "{totals:?}");
    shard.remove_station(slave);
}
