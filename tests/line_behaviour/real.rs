//! A running `hilrig plc` over a PTY and over TCP: one process for each framing, which has to live through all cases.
//! Time is what the machine gives, so pauses are at least as long as a case says and never shorter.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hilrig_tests::{Line, PATIENCE, Sandbox, wait_for};

use crate::talk::{Device, Framing, Talk};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// After so long nobody says anything more.
const QUIET: Duration = Duration::from_millis(30);

/// The simulator of one framing, up, until dropped.
pub struct Plc {
    framing: Framing,
    sandbox: Sandbox,
    child: Child,
    address: SocketAddr,
}

fn model() -> String {
    let unit = |id: u16| {
        let holding: Vec<String> = (0..200).map(|i| (i + 1000 * id).to_string()).collect();
        let coils: Vec<String> = (0..2000).map(|i| (i % 2).to_string()).collect();
        format!(
            "[unit.u{id}]\nid = {id}\nholding = {{ \"0\" = [{}] }}\ncoils = {{ \"0\" = [{}] }}\n\
             input = {{ \"0\" = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16] }}\n",
            holding.join(", "),
            coils.join(", ")
        )
    };
    format!("{}\n{}", unit(1), unit(3))
}

impl Plc {
    pub fn start(framing: Framing) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.scratch().join("model.toml");
        std::fs::write(&file, model()).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = match framing {
            Framing::Tcp | Framing::RtuOverTcp => format!("tcp-listen:{address}"),
            _ => "pty:plc".to_owned(),
        };
        let mut command: Command = sandbox.command(["plc"]);
        command.arg(&file).args(["--port", &port, "--framing", framing.name()]);
        let said = std::fs::File::create(sandbox.scratch().join("said")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let plc = Self { framing, sandbox, child, address };
        wait_for("the simulator is there", || match framing {
            Framing::Tcp | Framing::RtuOverTcp => TcpStream::connect(address).ok().map(drop),
            _ => Line::try_open(&plc.sandbox.port("plc")).ok().map(drop),
        });
        plc
    }

    /// Fails if the process has ended.
    pub fn alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        let said = || hilrig_tests::text(&self.sandbox.scratch().join("said"));
        assert!(ended.is_none(), "the simulator has ended: {ended:?}\n{}", said());
    }

    /// A line to it, with all values as they were in the beginning. `again`: who knows what it was told before.
    pub fn line(&self, again: bool) -> Real {
        let mut real =
            Real { plc: self.open(), heard: Vec::new(), at: self.address, until: None, closed: false };
        if again {
            real.take_all();
        }
        let mut talk = Talk::new(self.framing, &mut real);
        for unit in [1u16, 3] {
            if again {
                // Who was told to listen only answers again after this; whether it confirms it does not matter.
                talk.ask(unit as u8, &[8, 0, 1, 0, 0]).whatever();
            }
            for (first, count) in [(0u16, 123u16), (123, 77)] {
                let values = (first..first + count).flat_map(|i| (i + 1000 * unit).to_be_bytes());
                let head = [16, 0, first as u8, 0, count as u8];
                let pdu: Vec<u8> = head.into_iter().chain([count as u8 * 2]).chain(values).collect();
                talk.ask(unit as u8, &pdu).answers(unit as u8, &head);
            }
            for (first, count) in [(0u16, 1968u16), (1968, 32)] {
                let ([a, b], [c, d]) = (first.to_be_bytes(), count.to_be_bytes());
                let head = [15, a, b, c, d];
                let bits = vec![0xaa; usize::from(count / 8)];
                let pdu = [&head[..], &[bits.len() as u8], &bits].concat();
                talk.ask(unit as u8, &pdu).answers(unit as u8, &head);
            }
        }
        real
    }

    fn open(&self) -> End {
        match self.framing {
            Framing::Tcp | Framing::RtuOverTcp => End::Stream(call(self.address)),
            _ => End::Line(Line::open(&self.sandbox.port("plc"))),
        }
    }
}

impl Drop for Plc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum End {
    Line(Line),
    Stream(TcpStream),
}

fn call(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub struct Real {
    plc: End,
    heard: Vec<u8>,
    at: SocketAddr,
    /// The line has to stay silent until then.
    until: Option<Instant>,
    closed: bool,
}

impl Real {
    /// Reads what there is, waiting at most so long for the first byte; `false`: nothing.
    fn hear(&mut self, patience: Duration) -> bool {
        let mut block = [0; 1024];
        let n = match &mut self.plc {
            End::Line(line) => line.read_some(&mut block, patience).unwrap(),
            End::Stream(stream) => {
                stream.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).unwrap();
                match stream.read(&mut block) {
                    Ok(0) => {
                        self.closed = true;
                        0
                    }
                    Ok(n) => n,
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                    Err(_) => {
                        self.closed = true;
                        0
                    }
                }
            }
        };
        self.heard.extend_from_slice(&block[..n]);
        n > 0
    }
}

impl Device for Real {
    fn send(&mut self, bytes: &[u8]) {
        if let Some(until) = self.until.take() {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }
        match &mut self.plc {
            End::Line(line) => line.write(bytes).unwrap(),
            // It may have hung up, rightly.
            End::Stream(stream) => self.closed |= stream.write_all(bytes).is_err(),
        }
    }

    fn wait(&mut self, time: Duration) {
        let from = self.until.unwrap_or_else(Instant::now);
        self.until = Some(from + time);
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let end = Instant::now() + LIMIT;
        while self.heard.len() < count && !self.closed && Instant::now() < end {
            self.hear(Duration::from_millis(100));
        }
        // An answer is the end of the silence.
        self.until = None;
        let count = count.min(self.heard.len());
        self.heard.drain(..count).collect()
    }

    fn take_all(&mut self) -> Vec<u8> {
        while self.hear(QUIET) {}
        self.until = None;
        std::mem::take(&mut self.heard)
    }

    fn closed(&mut self) -> bool {
        self.hear(Duration::from_millis(1));
        self.closed
    }

    fn reconnect(&mut self) {
        if let End::Stream(stream) = &mut self.plc {
            *stream = call(self.at);
            self.heard.clear();
            self.until = None;
            self.closed = false;
        }
    }

    fn is_exact(&self) -> bool {
        false
    }
}
