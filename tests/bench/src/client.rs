//! A client of the process interface as a peer writes it: JSON lines over TCP or a Unix socket. It checks content outside the timed part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(5);

/// Where a server listens.
#[derive(Debug, Clone)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Address {
    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }

    /// Connects, asks, reads one line; answers the time all that took and the line. The close is not timed.
    fn exchange(&self, request: &[u8]) -> std::io::Result<(Duration, Vec<u8>)> {
        let mut line = Vec::with_capacity(2048);
        let start = Instant::now();
        let mut stream = self.connect()?;
        stream.write_all(request)?;
        let mut buffer = [0; 4096];
        while line.last() != Some(&b'\n') {
            match stream.read(&mut buffer)? {
                0 => break,
                count => line.extend_from_slice(&buffer[..count]),
            }
        }
        Ok((start.elapsed(), line))
    }

    /// One request on its own connection; the response, or the server's error as a sentence.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let request = format!("{}\n", json!({"method": method, "params": params}));
        let (_, line) = self.exchange(request.as_bytes())?;
        let mut reply: Value = serde_json::from_slice(&line)
            .map_err(|error| Failure::Wrong(format!("the reply to {method} is not JSON: {error}")))?;
        match reply["ok"] {
            Value::Bool(true) => Ok(reply["response"].take()),
            _ => Err(Failure::Missing(format!("{method} failed: {}", reply["error"]["message"]))),
        }
    }

    /// Invokes an action and waits for the job's end; fails unless it succeeded.
    pub fn act(&self, app: &str, action: &str, args: Value) -> Result<(), Failure> {
        let accepted =
            self.call("action.invoke", json!({"appId": app, "actionName": action, "args": args}))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let job = self.call("action.job.get", json!({"appId": app, "jobId": accepted["jobId"]}))?;
            match job["state"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("queued" | "running") if Instant::now() < deadline => sleep(Duration::from_millis(20)),
                _ => {
                    let words = &job["error"]["message"];
                    return Err(Failure::Missing(format!("{app} {action} ended {}: {words}", job["state"])));
                }
            }
        }
    }

    /// The server's state of the last job begun with this id.
    pub fn job_state(&self, app: &str, job: &Value) -> Result<String, Failure> {
        let job = self.call("action.job.get", json!({"appId": app, "jobId": job}))?;
        Ok(job["state"].as_str().unwrap_or_default().to_owned())
    }

    /// `status.get` with a connection each; the times in us, each reply checked.
    pub fn status_each(&self, app: &str, count: usize) -> Result<Vec<f64>, Failure> {
        let mut samples = Vec::with_capacity(count);
        for number in 0..count {
            let (took, line) = self.exchange(status_request(app, number).as_bytes())?;
            check_status(&line, app, number)?;
            samples.push(took.as_secs_f64() * 1e6);
        }
        Ok(samples)
    }

    /// `status.get` many times over one connection without waiting between; replies per second.
    pub fn status_pipelined(&self, app: &str, count: usize) -> Result<f64, Failure> {
        let mut stream = BufReader::new(self.connect()?);
        let mut lines = Vec::with_capacity(count);
        let start = Instant::now();
        // Fifty at a time, so that neither side's socket buffer can fill up against the other.
        for batch in (0..count).step_by(50) {
            let numbers = batch..count.min(batch + 50);
            let text: String = numbers.clone().map(|number| status_request(app, number)).collect();
            stream.get_mut().write_all(text.as_bytes())?;
            for _ in numbers {
                let mut line = Vec::with_capacity(1024);
                stream.read_until(b'\n', &mut line)?;
                lines.push(line);
            }
        }
        let rate = count as f64 / start.elapsed().as_secs_f64();
        lines.iter().enumerate().try_for_each(|(number, line)| check_status(line, app, number))?;
        Ok(rate)
    }
}

fn status_request(app: &str, number: usize) -> String {
    format!("{}\n", json!({"id": format!("r{number}"), "method": "status.get", "params": {"appId": app}}))
}

fn check_status(line: &[u8], app: &str, number: usize) -> Result<(), Failure> {
    const KEYS: [&str; 10] = [
        "interfaceName",
        "interfaceVersion",
        "appId",
        "appTitle",
        "running",
        "pid",
        "hostRunning",
        "hostPid",
        "bootId",
        "error",
    ];
    let reply: Value = serde_json::from_slice(line).unwrap_or_default();
    let response = &reply["response"];
    let right = reply["ok"] == true
        && reply["id"] == format!("r{number}")
        && response["appId"] == app
        && KEYS.iter().all(|key| response.get(key).is_some());
    if right {
        return Ok(());
    }
    Err(Failure::Wrong(format!("reply {number} to status.get: {}", String::from_utf8_lossy(line).trim_end())))
}
