//! Bytes both ways through a bridge, from the outside, each checked against the pattern of its direction.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hilrig_tests::{Conn, Line, pattern, wait_for};

const STEP: Duration = Duration::from_millis(50);

/// Both directions: 0 is near to far.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
    received: [Arc<AtomicU64>; 2],
    writers: Vec<JoinHandle<(u64, io::Result<()>)>>,
    readers: Vec<JoinHandle<io::Result<()>>>,
}

impl Traffic {
    /// Opens both far ends of the running bridge and lets bytes flow as soon as it knows that they are open.
    #[track_caller]
    pub fn start(conn: &mut Conn, near: &Path, far: &Path) -> Self {
        let lines = [near, far].map(|path| Arc::new(Line::open(path)));
        conn.wait_for_peers([true, true]);
        let (stop, drained) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let received: [Arc<AtomicU64>; 2] = Default::default();
        let mut writers = Vec::new();
        let mut readers = Vec::new();
        for direction in 0..2 {
            let (from, to) = (Arc::clone(&lines[direction]), Arc::clone(&lines[1 - direction]));
            let stop = Arc::clone(&stop);
            writers.push(std::thread::spawn(move || write(&from, direction as u64, &stop)));
            let (drained, received) = (Arc::clone(&drained), Arc::clone(&received[direction]));
            readers.push(std::thread::spawn(move || read(&to, direction as u64, &received, &drained)));
        }
        Self { stop, drained, received, writers, readers }
    }

    /// Waits until more bytes have come through than now, in both directions.
    #[track_caller]
    pub fn flows(&self) {
        for received in &self.received {
            let now = received.load(Ordering::Relaxed);
            wait_for("bytes come through", || {
                assert!(
                    !self.readers.iter().any(JoinHandle::is_finished),
                    "a byte is wrong, or a line is gone"
                );
                (received.load(Ordering::Relaxed) > now).then_some(())
            });
        }
    }

    /// Ends the stream and waits until every byte sent has come out: how many each way.
    #[track_caller]
    pub fn finish(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        let sent: Vec<u64> = self
            .writers
            .into_iter()
            .map(|writer| {
                let (sent, outcome) = writer.join().unwrap();
                outcome.expect("the line took all bytes");
                sent
            })
            .collect();
        for (sent, received) in sent.iter().zip(&self.received) {
            wait_for(&format!("all {sent} bytes come out"), || {
                (received.load(Ordering::Relaxed) >= *sent).then_some(())
            });
        }
        self.drained.store(true, Ordering::Relaxed);
        for reader in self.readers {
            reader.join().unwrap().expect("every byte is the one that was sent");
        }
        let received = self.received.map(|r| r.load(Ordering::Relaxed));
        assert_eq!(received.as_slice(), sent, "bytes out and in");
        received
    }

    /// The same when the bridge has died: what came out is the beginning of what was sent.
    #[track_caller]
    pub fn cut_off(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.drained.store(true, Ordering::Relaxed);
        let sent: Vec<u64> = self.writers.into_iter().map(|writer| writer.join().unwrap().0).collect();
        for reader in self.readers {
            if let Err(e) = reader.join().unwrap() {
                assert_ne!(e.kind(), io::ErrorKind::InvalidData, "{e}");
            }
        }
        let received = self.received.map(|r| r.load(Ordering::Relaxed));
        assert!(received[0] <= sent[0] && received[1] <= sent[1], "{received:?} of {sent:?}");
        received
    }
}

fn write(line: &Line, seed: u64, stop: &AtomicBool) -> (u64, io::Result<()>) {
    let mut sent = 0;
    let mut chunk = Vec::with_capacity(1024);
    while !stop.load(Ordering::Relaxed) {
        let len = 1 + sent % 997;
        chunk.clear();
        chunk.extend((sent..sent + len).map(|at| pattern(seed, at)));
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            match line.write_some(rest, STEP) {
                Ok(n) => {
                    rest = &rest[n..];
                    sent += n as u64;
                }
                Err(e) => return (sent, Err(e)),
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    (sent, Ok(()))
}

fn read(line: &Line, seed: u64, received: &AtomicU64, drained: &AtomicBool) -> io::Result<()> {
    let mut block = [0; 4096];
    let mut at = 0;
    loop {
        let n = line.read_some(&mut block, STEP)?;
        for byte in &block[..n] {
            if *byte != pattern(seed, at) {
                let what = format!("direction {seed}, byte {at}: {byte:#x} for {:#x}", pattern(seed, at));
                println!("{what}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            at += 1;
        }
        received.store(at, Ordering::Relaxed);
        if n == 0 && drained.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}
