//! For tests on real drivers: links two ports, prints what happens and obeys lines on its standard input.
//! Usage: link_probe URL-A URL-B
//!
//! Commands: `lines a dtr=on rts=off`, `break b 100` (milliseconds), `stats`, `quit`.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use hilrig_port::{Event, Lines, Link, LinkOptions, OpenPort, PortUrl, Runtime, Shard, Time};

type Fault = Box<dyn std::error::Error>;

enum Input {
    Event(Event),
    Command(String),
    End,
}

const FOREVER: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("error {e}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Fault> {
    let urls: Vec<PortUrl> = std::env::args().skip(1).map(|url| url.parse()).collect::<Result<_, _>>()?;
    let [a, b] = urls.as_slice() else { return Err("two ports are needed".into()) };
    let runtime = Runtime::from_env()?;
    let open = |url: &PortUrl| -> Result<OpenPort, Fault> {
        let port = OpenPort::open(url, &runtime, &|| false)?;
        port.warnings().iter().for_each(|warning| say(&format!("warning {warning}")));
        Ok(port)
    };
    let shard = Shard::start("probe")?;
    let inputs = listen(&shard)?;
    let link = shard.add_link(open(a)?, open(b)?, LinkOptions::default())?;
    say("ready");
    while let Ok(input) = inputs.recv() {
        match input {
            Input::Event(event) => {
                say(&format!("event {} {:?} at {}", ["a", "b"][event.side], event.what, seconds(event.at)));
            }
            Input::Command(line) if line == "quit" => break,
            Input::Command(line) => {
                if let Err(e) = obey(&line, &shard, &link) {
                    say(&format!("refused {e}"));
                }
            }
            Input::End => break,
        }
    }
    shard.remove_link(link);
    say("end");
    Ok(())
}

fn listen(shard: &Shard) -> Result<std::sync::mpsc::Receiver<Input>, Fault> {
    fn each(inputs: Sender<Input>, mut next: impl FnMut() -> Option<Input> + Send + 'static) {
        std::thread::spawn(move || while inputs.send(next().unwrap_or(Input::End)).is_ok() {});
    }
    let (sender, inputs) = channel();
    let mut events = shard.events();
    each(sender.clone(), move || events.wait(FOREVER).map(Input::Event));
    let mut lines = BufReader::new(std::io::stdin()).lines();
    each(sender, move || lines.next().and_then(Result::ok).map(Input::Command));
    Ok(inputs)
}

fn obey(line: &str, shard: &Shard, link: &Link) -> Result<(), Fault> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let side = |name: &&str| usize::from(*name == "b");
    match words.as_slice() {
        ["lines", name, settings @ ..] => {
            let (mut mask, mut values) = (Lines::NONE, Lines::NONE);
            for setting in settings {
                let (name, value) = setting.split_once('=').ok_or("lines: name=on or name=off")?;
                let line = if name == "dtr" { Lines::DTR } else { Lines::RTS };
                (mask, values) = (mask | line, values.with(line, value == "on"));
            }
            shard.set_lines(link, side(name), mask, values)?;
            say("done");
        }
        ["break", name, time] => {
            shard.send_break(link, side(name), Duration::from_millis(time.parse()?))?;
            say("done");
        }
        ["stats"] => {
            for (name, stats) in ["a", "b"].iter().zip(link.ports()) {
                say(&format!("stats {name} {:?}", stats.snapshot()));
            }
            for (way, d) in ["a->b", "b->a"].iter().zip(link.stats().directions) {
                say(&format!(
                    "stats {way} bytes_in: {}, bytes_out: {}, discarded_bytes: {}, pending: {}",
                    d.bytes_in, d.bytes_out, d.discarded_bytes, d.pending
                ));
            }
        }
        _ => return Err("no such command".into()),
    }
    Ok(())
}

fn seconds(at: Time) -> String {
    format!("{}.{:06}", at.0 / 1_000_000_000, at.0 / 1000 % 1_000_000)
}

/// With the time since the machine started, as the kernel log has it.
fn say(text: &str) {
    println!("{} {text}", seconds(Time::now()));
}
