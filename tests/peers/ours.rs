//! Our own side of the line: a slave that serves, or a master that asks, on a shard of this test.

use std::path::PathBuf;
use std::time::Duration;

use hilrig_modbus::{Exchange, Framing, Master, Outcome, Poll, PollResult, Results, Slave, TcpSlave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{OpenPort, PortUrl, Runtime, Shard, StationRef};
use hilrig_tests::wait_for;
use tempfile::TempDir;

fn timing() -> Timing {
    Timing::new(19200, "8E1".parse().unwrap())
}

/// Where the links of virtual ports go.
struct Place {
    _dir: TempDir,
    runtime: Runtime,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hr-").tempdir().unwrap();
        let runtime = Runtime::at(dir.path().canonicalize().unwrap().join("run")).unwrap();
        Self { _dir: dir, runtime }
    }

    fn open(&self, url: &str) -> OpenPort {
        OpenPort::open(&url.parse::<PortUrl>().unwrap(), &self.runtime, &|| false).unwrap()
    }
}

/// Unit 17: holding registers 0 to 199 from 1000 on, input registers 0 to 9 from 7 on, coils 0 to 1999 of which every
/// second is on, discrete inputs 0 to 31 of which every third is on.
pub fn plant() -> Shared {
    let mut unit = Unit::new();
    unit.define(Table::HoldingRegisters, 0, (0..200).map(|i| 1000 + i)).unwrap();
    unit.define(Table::InputRegisters, 0, 7..17).unwrap();
    unit.define(Table::Coils, 0, (0..2000).map(|i| i % 2)).unwrap();
    unit.define(Table::DiscreteInputs, 0, (0..32).map(|i| u16::from(i % 3 == 0))).unwrap();
    let mut plant = Plant::default();
    plant.add_unit(17, unit).unwrap();
    Shared::new(plant)
}

/// Our slave on a port of its own, until dropped.
pub struct Plc {
    place: Place,
    _shard: Shard,
    /// The path of the far end, or `127.0.0.1:PORT`.
    pub address: String,
}

impl Plc {
    pub fn start(framing: Framing) -> Self {
        let place = Place::new();
        let shard = Shard::start("plc").unwrap();
        let address = if framing.is_over_tcp() {
            let listener = place.open("tcp-listen:127.0.0.1:0");
            let address = listener.local_addr().unwrap().to_string();
            let slave = TcpSlave::new(framing, timing(), plant());
            shard.add_server(listener, None, Box::new(slave)).unwrap();
            address
        } else {
            let port = place.open("pty:plc");
            let address = port.far_end().unwrap().display().to_string();
            let slave = Slave::new(timing(), plant()).framing(framing);
            shard.add_station(port, Box::new(slave)).unwrap();
            address
        };
        Self { place, _shard: shard, address }
    }

    /// The port that a client opens, as a URL of hilrig.
    pub fn url(&self) -> String {
        if self.address.starts_with('/') { self.address.clone() } else { format!("tcp:{}", self.address) }
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.place.runtime.dir().to_owned()
    }
}

/// Our master at the end of a virtual port, or of a connection.
pub struct Asking {
    place: Place,
    shard: Shard,
    station: Option<StationRef>,
    results: Results,
    asked: u64,
    framing: Framing,
    /// Of a virtual port, its far end.
    pub far_end: Option<PathBuf>,
}

impl Asking {
    /// On a virtual port, whose far end a server is to open.
    pub fn on_a_line(framing: Framing) -> Self {
        Self::on(framing, "pty:master")
    }

    pub fn of_a_server(framing: Framing, port: u16) -> Self {
        Self::on(framing, &format!("tcp:127.0.0.1:{port}"))
    }

    fn on(framing: Framing, url: &str) -> Self {
        let place = Place::new();
        let port = place.open(url);
        let far_end = port.far_end().map(Into::into);
        let (master, results) = Master::new(timing(), [], 64);
        let shard = Shard::start("master").unwrap();
        let station = shard.add_station(port, Box::new(master.framing(framing))).unwrap();
        Self { place, shard, station: Some(station), results, asked: 0, framing, far_end }
    }

    /// Another connection.
    pub fn call_again(&mut self, port: u16) {
        let framing = self.framing;
        if let Some(station) = self.station.take() {
            self.shard.remove_station(station);
        }
        let port = self.place.open(&format!("tcp:127.0.0.1:{port}"));
        let (master, results) = Master::new(timing(), [], 64);
        self.station = Some(self.shard.add_station(port, Box::new(master.framing(framing))).unwrap());
        self.results = results;
    }

    /// Asks once and waits for what becomes of it.
    #[track_caller]
    pub fn ask(&mut self, exchange: Exchange) -> PollResult {
        self.asked += 1;
        let (id, poll) = (self.asked, Poll::new(exchange).timeout(Duration::from_secs(5)).retries(0));
        let station = self.station.as_ref().unwrap();
        let taken = self.shard.with_station(station, |master: &mut Master, _, _| master.submit(id, poll));
        assert!(taken.unwrap(), "the master takes it");
        wait_for("a result", || self.results.pop())
    }

    #[track_caller]
    pub fn values(&mut self, exchange: Exchange) -> Vec<u16> {
        let result = self.ask(exchange);
        assert_eq!((result.outcome, result.attempts), (Outcome::Ok, 1), "{result:?}");
        result.values.iter().collect()
    }
}
