//! Our own side of the line: `hilrig plc` that serves, or a master that asks, on a shard of this test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use hilrig_modbus::{Exchange, Framing, Master, Outcome, Poll, PollResult, Results, Timing};
use hilrig_port::{OpenPort, PortUrl, Runtime, Shard, StationRef};
use hilrig_tests::{PATIENCE, Sandbox, wait_for};
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
/// second is on, discrete inputs 0 to 31 of which every third is on; and what only few devices have.
fn model() -> String {
    let list =
        |values: &mut dyn Iterator<Item = u16>| values.map(|v| v.to_string()).collect::<Vec<_>>().join(", ");
    format!(
        r#"
[unit.plc]
id = 17
exception_status = 0x55
holding = {{ "0" = [{}] }}
input = {{ "0" = [{}] }}
coils = {{ "0" = [{}] }}
discrete = {{ "0" = [{}] }}
file = {{ "4" = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19] }}
fifo = {{ "500" = [440, 4740, 5] }}
user_function = {{ "65" = [{{ request = "01 ??", reply = "AA BB" }}] }}

[unit.plc.identity]
vendor = "hilrig"
product_code = "PLC-17"
revision = "1.2"
product_name = "a PLC"

[unit.plc.server_id]
text = "pump 17"

[unit.plc.point.level]
at = "holding:300"
type = "f32"
order = "CDAB"
value = -0.15625
"#,
        list(&mut (1000..1200)),
        list(&mut (7..17)),
        list(&mut (0..2000).map(|i| i % 2)),
        list(&mut (0..32).map(|i| u16::from(i % 3 == 0)))
    )
}

/// `hilrig plc` with a model, until dropped.
pub struct Plc {
    sandbox: Sandbox,
    child: Child,
    /// What it said of its ports: which, and what a client opens there.
    ports: Vec<(String, String)>,
    /// Of the first port: the path of the far end, or `127.0.0.1:PORT`.
    pub address: String,
}

impl Plc {
    /// On a port of its own.
    #[track_caller]
    pub fn start(framing: Framing) -> Self {
        let port = if framing.is_over_tcp() { "tcp-listen:127.0.0.1:0" } else { "pty:plc" };
        Self::of(&model(), &["--framing", framing.name(), "--port", port], 1)
    }

    /// With a model that has so many ports to be called on.
    #[track_caller]
    pub fn of(model: &str, args: &[&str], ports: usize) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.scratch().join("model.toml");
        std::fs::write(&file, model).unwrap();
        let mut command = sandbox.command([&["plc", file.to_str().unwrap()], args].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, open) = channel();
        std::thread::spawn(move || {
            for line in told.map_while(Result::ok) {
                match line.split_once(", open ") {
                    Some((which, at)) => {
                        drop(tell.send((which.to_owned(), at.trim_start_matches("tcp:").to_owned())))
                    }
                    None => println!("{line}"),
                }
            }
        });
        let mut plc = Self { sandbox, child, ports: Vec::new(), address: String::new() };
        while plc.ports.len() < ports {
            let port = open.recv_timeout(PATIENCE);
            plc.ports.push(port.unwrap_or_else(|e| panic!("{e}: hilrig plc tells only {:?}", plc.ports)));
        }
        plc.address.clone_from(&plc.ports[0].1);
        plc
    }

    /// What a client opens on the port of which it said this.
    #[track_caller]
    pub fn open(&self, word: &str) -> &str {
        let port = self.ports.iter().find(|(which, _)| which.contains(word));
        &port.unwrap_or_else(|| panic!("{word}: {:?}", self.ports)).1
    }

    /// The far end of a virtual port.
    pub fn far_end(&self, name: &str) -> PathBuf {
        self.sandbox.port(name)
    }

    /// The port that a client opens, as a URL of hilrig.
    pub fn url(&self) -> String {
        if self.address.starts_with('/') { self.address.clone() } else { format!("tcp:{}", self.address) }
    }

    pub fn runtime_dir(&self) -> &Path {
        &self.sandbox.runtime
    }
}

impl Drop for Plc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
