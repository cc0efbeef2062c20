//! How punctual shards are: telegrams of 1 ms beside cyclictest, and replies that are delayed on purpose. What is timed here has
//! real-time priority, as far as that is granted.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hilrig_plc::Model;
use hilrig_points::Shared;
use hilrig_port::{LineEvent, OpenPort, PortUrl, RealTime, Runtime, Shard, Station, Time, Tx};
use hilrig_telegram::TelegramStation;

use super::load::{Exchange, exchange};
use crate::Failure;
use crate::child::on_path;

/// For a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// As cyclictest.
const PRIORITY: u8 = 80;

fn wish(core: usize, spin: Duration) -> RealTime {
    RealTime { fifo: Some(PRIORITY), spin, cpu: Some(core), lock_memory: true, dma_latency: true }
}

fn failed(e: impl std::fmt::Display) -> Failure {
    Failure::Missing(e.to_string())
}

fn open(url: &str, folder: &Path) -> Result<OpenPort, Failure> {
    let runtime = Runtime::at(folder.join("runtime")).map_err(failed)?;
    let url: PortUrl = url.parse().map_err(failed)?;
    OpenPort::open(&url, &runtime, &|| false).map_err(failed)
}

/// What was not granted, a sentence each.
pub fn refused(shard: &Shard) -> Vec<String> {
    let rows = shard.granted().rows.iter().filter(|row| !row.granted);
    rows.map(|row| format!("{} not granted: {}", row.what, row.detail)).collect()
}

/// A telegram with a live value, each millisecond.
const MODEL: &str = r#"
[port.line]
[unit.weather]
id = 1
[unit.weather.point.wind]
at = "input:0"
type = "f32"
signal = { sine = { period = "10s", amplitude = 20 } }
[telegram.vane]
port = "line"
profile = "nmea"
[telegram.vane.send.wind]
every = "1ms"
fields = [{ text = "WIMWV,045.0,R," }, { point = "wind", as = { decimal = { decimals = 1 } } }, { text = ",N,A" }]
"#;

/// Notes how late a core was called.
struct Timed {
    core: TelegramStation,
    late_us: Vec<f64>,
    count: usize,
}

impl Station for Timed {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.core.on_bytes(now, bytes, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        if let Some(due) = self.core.deadline() {
            // Whole microseconds, as cyclictest counts them.
            self.late_us.push(now.since(due).as_micros() as f64);
        }
        self.core.on_deadline(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        self.core.deadline().filter(|_| self.late_us.len() < self.count)
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        self.core.on_line(now, event, tx);
    }
}

/// How late telegrams of a shard were, in us, and what was refused to it.
pub fn cyclic(
    core: usize,
    spin: Duration,
    count: usize,
    folder: &Path,
) -> Result<(Vec<f64>, Vec<String>), Failure> {
    let path = folder.join("telegrams");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let port = open(&format!("unix:{}", path.display()), folder)?;
    let (mut reader, _) = listener.accept()?;
    let drain = std::thread::spawn(move || while matches!(reader.read(&mut [0; 4096]), Ok(1..)) {});
    let shard = Shard::start_with("telegrams", &wish(core, spin)).map_err(failed)?;
    let period = Duration::from_millis(1);
    let model = Model::check(MODEL, Path::new("telegrams.toml")).map_err(failed)?;
    let plan = model.telegrams[0].plan.clone();
    let core = TelegramStation::new(plan, Shared::new(model.plant()));
    let station = Timed { core, late_us: Vec::with_capacity(count), count };
    let station = shard.add_station(port, Box::new(station)).map_err(failed)?;
    // Nobody asks the shard anything while it is timed.
    std::thread::sleep(period * count as u32 + Duration::from_millis(40));
    let until = Time::now() + Duration::from_secs(10);
    let late = loop {
        let take = |s: &mut Timed, _: Time, _: &mut Tx| {
            (s.late_us.len() == s.count).then(|| std::mem::replace(&mut s.late_us, vec![0.0; s.count]))
        };
        match shard.with_station(&station, take).map_err(failed)? {
            Some(late) => break late,
            None if Time::now() > until => {
                return Err(Failure::Wrong(format!("a station was not called {count} times")));
            }
            None => std::thread::sleep(period),
        }
    };
    let refused = refused(&shard);
    drop(shard);
    let _ = drain.join();
    Ok((late, refused))
}

/// The same by cyclictest; `None` when it is not there or may not run.
pub fn cyclictest(core: usize, count: usize) -> Option<Vec<f64>> {
    let program = on_path("cyclictest")?;
    let (core, count) = (core.to_string(), count.to_string());
    let words = ["-q", "-m", "-t1", "-p80", "-i1000", "-h", "20000", "-a", &core, "-l", &count];
    let done = Command::new(program).args(words).output().ok()?;
    let samples = histogram(&String::from_utf8_lossy(&done.stdout));
    (!samples.is_empty()).then_some(samples)
}

/// Samples from a histogram of cyclictest: lines of a lateness in us and how often it was seen.
fn histogram(text: &str) -> Vec<f64> {
    let row = |line: &str| -> Option<(f64, usize)> {
        let (us, count) = line.split_once(' ')?;
        Some((us.parse().ok()?, count.trim().parse().ok()?))
    };
    let rows = text.lines().filter(|line| !line.starts_with('#')).filter_map(row);
    rows.flat_map(|(us, count)| std::iter::repeat_n(us, count)).collect()
}

/// Round trips of `count` requests to a server, in us. Looks for replies without sleeping, so that no waking up of its own
/// is in them.
pub fn asked(address: SocketAddr, count: usize) -> Result<Vec<f64>, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let Exchange { request, reply: want } = exchange();
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        std::thread::sleep(Duration::from_micros(1_370));
        let (mut reply, mut have) = (vec![0; want.len()], 0);
        let sent = Instant::now();
        stream.write_all(&request)?;
        while have < want.len() {
            match stream.read(&mut reply[have..]) {
                Ok(0) => return Err(Failure::Wrong("the server ended the connection".to_owned())),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock && sent.elapsed() < PATIENCE => {}
                Err(e) => return Err(Failure::Wrong(format!("a request was not answered: {e}"))),
            }
        }
        took.push(sent.elapsed().as_nanos() as f64 / 1e3);
        if reply != want {
            return Err(Failure::Wrong(format!("a request was answered with {reply:02x?}")));
        }
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_of_cyclictest_becomes_samples() {
        let text = "# Histogram\n000000 000000\n000009 000002\n000010 000001\n# Total: 000000003\n";
        assert_eq!(histogram(text), [9.0, 9.0, 10.0]);
        assert!(histogram("").is_empty());
    }

    #[test]
    fn each_telegram_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (late, _) = cyclic(0, Duration::ZERO, 30, folder.path()).unwrap();
        assert_eq!(late.len(), 30);
    }
}
