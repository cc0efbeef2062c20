//! `modbus`: a small client for people. Turns places and values into requests and answers into text; the line is
//! [`client`]'s.

mod check;
mod client;
mod line;
pub mod place;
mod scan;
pub mod values;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hilrig_port::{PortUrl, Runtime};
use serde_json::{Value, json};
use tokio_modbus::{Request, Response};

use crate::args::{DeviceArgs, FramingArg, LineArgs, ModbusCommand, ShapeArgs};
use crate::foreground::{interrupt_flag, runtime};
use crate::modbus::client::{Client, Trouble};
use crate::modbus::place::{Place, Table};
use crate::modbus::values::{Shown, Type};
use crate::output::{Failure, say, table};

/// Name of the threads that tokio-modbus may lose.
const TASKS: &str = "modbus-calls";
/// Most registers and bits in one read (AP 6.1, 6.3), and in one write (AP 6.11, 6.12).
const READ: [u16; 2] = [125, 2000];
const WRITE: [usize; 2] = [123, 1968];

/// A panic of a call is its answer's fault and told as a sentence; that of anything else is told as ever.
fn quiet_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(TASKS) {
            tell(panic);
        }
    }));
}

pub fn modbus(command: ModbusCommand, json: bool) -> Result<ExitCode, Failure> {
    let interrupted = interrupt_flag()?;
    match command {
        ModbusCommand::Read { device, places, shape, count } => {
            let spans = spans(&places, shape, count)?;
            let mut client = connect(&device.line, &interrupted, Duration::from_secs(1), 1)?;
            let mut rows = Vec::new();
            for span in &spans {
                for cell in span.read(&mut client, device.unit)? {
                    if json {
                        say(&cell.json(device.unit).to_string());
                    }
                    rows.push(vec![cell.place.to_string(), cell.shown.text]);
                }
            }
            if !json {
                table(&rows);
            }
        }
        ModbusCommand::Write { device, place, values, shape, multiple } => {
            let request = write(place, &values, shape, multiple)?;
            let mut client = connect(&device.line, &interrupted, Duration::from_secs(1), 0)?;
            send(&mut client, &device, place, &values, &request, json)?;
        }
        ModbusCommand::Scan { line, units, at, identify } => {
            let mut client = connect(&line, &interrupted, Duration::from_millis(250), 0)?;
            return scan::scan(&mut client, units, &at, identify, json);
        }
        ModbusCommand::Watch { device, places, shape, every, samples } => {
            let spans = spans(&places, shape, None)?;
            let mut client = connect(&device.line, &interrupted, Duration::from_secs(1), 1)?;
            let plan = watch::Plan { spans, unit: device.unit, every, samples, json };
            return watch::watch(&mut client, &plan, &interrupted);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the port, so that a wrong one is told before anything is asked.
fn connect(
    line: &LineArgs,
    interrupted: &Arc<AtomicBool>,
    timeout: Duration,
    retries: u32,
) -> Result<Client, Failure> {
    let ports = runtime()?;
    let url = line.url.parse::<PortUrl>().map_err(|e| Failure::usage(e.to_string()))?;
    let over_tcp = matches!(url, PortUrl::Tcp { .. });
    let framing = line.framing.unwrap_or(if over_tcp { FramingArg::Tcp } else { FramingArg::Rtu });
    if framing != FramingArg::Rtu && !over_tcp && !matches!(url, PortUrl::Unix { .. }) {
        return Err(Failure::usage(format!(
            "{url} is a serial line, which has no frames of TCP; leave --framing out"
        )));
    }
    let url = far_end(url, &ports)?;
    let timeout = line.timeout.unwrap_or(timeout);
    let retries = line.retries.unwrap_or(retries);
    let mut client = Client::new(url, ports, framing, timeout, retries, interrupted.clone())?;
    client.connect().map_err(|trouble| failure(&trouble, 0, "open the port"))?;
    Ok(client)
}

/// A client talks to who has made a virtual port: it opens the end that others open.
fn far_end(url: PortUrl, ports: &Runtime) -> Result<PortUrl, Failure> {
    match &url {
        PortUrl::Pty { name, .. } => {
            let path = ports.dir().join(name);
            if !path.exists() {
                return Err(Failure::infrastructure(format!(
                    "there is no virtual port {}; `hilrig plc MODEL.toml --port {url}` or `hilrig pair` makes one",
                    path.display()
                )));
            }
            Ok(PortUrl::Serial { path, options: Default::default() })
        }
        PortUrl::TcpListen { .. } | PortUrl::UnixListen { .. } | PortUrl::Rfc2217Listen { .. } => {
            Err(Failure::usage(format!("{url} waits for others to call; a client calls, as tcp:HOST:PORT")))
        }
        _ => Ok(url),
    }
}

fn failure(trouble: &Trouble, unit: u8, doing: &str) -> Failure {
    let sentence = match trouble {
        Trouble::Port(text) => text.clone(),
        other => other.sentence(unit, doing),
    };
    Failure::new(trouble.exit(), sentence)
}

/// Addresses in a row and how they are shown.
#[derive(Debug, Clone, Copy)]
struct Span {
    table: Table,
    first: u16,
    /// Addresses.
    len: u32,
    /// Addresses of one value.
    width: usize,
    shape: ShapeArgs,
}

/// One value as it was read.
#[derive(Debug, Clone)]
struct Cell {
    place: Place,
    shown: Shown,
    kind: &'static str,
}

impl Cell {
    fn json(&self, unit: u8) -> Value {
        json!({
            "unit": unit, "table": self.place.table.name(), "address": self.place.first, "type": self.kind,
            "value": self.shown.json,
        })
    }
}

fn word(kind: Type) -> &'static str {
    match kind {
        Type::U16 => "u16",
        Type::I16 => "i16",
        Type::U32 => "u32",
        Type::I32 => "i32",
        Type::U64 => "u64",
        Type::I64 => "i64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Hex => "hex",
        Type::Bits => "bits",
        Type::String => "string",
    }
}

fn spans(places: &[Place], shape: ShapeArgs, count: Option<u16>) -> Result<Vec<Span>, Failure> {
    places.iter().map(|place| span(*place, shape, count)).collect()
}

fn span(place: Place, shape: ShapeArgs, count: Option<u16>) -> Result<Span, Failure> {
    let Place { table, first, last } = place;
    if table.is_bits() && shape.kind.is_some() && count.is_none() && last.is_none() {
        return Err(Failure::usage(format!("{place} is a bit; --type is for registers")));
    }
    let kind = shape.kind.unwrap_or(Type::U16);
    let width = if table.is_bits() { Some(1) } else { kind.width() };
    let len = match (count, last) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(format!("{place} says where it ends; leave --count out")));
        }
        (Some(count), None) => u32::from(count) * width.unwrap_or(1) as u32,
        (None, Some(_)) => place.len(),
        (None, None) => width.unwrap_or(1) as u32,
    };
    let width = width.unwrap_or(len as usize);
    if !(len as usize).is_multiple_of(width) {
        return Err(Failure::usage(format!(
            "{place} has {len} registers; a value of type {} takes {width}",
            word(kind)
        )));
    }
    if u32::from(first) + len > 0x1_0000 {
        return Err(Failure::usage(format!("{len} addresses from {place} on pass the last address, 65535")));
    }
    Ok(Span { table, first, len, width, shape })
}

impl Span {
    fn place(&self) -> Place {
        Place {
            table: self.table,
            first: self.first,
            last: Some((u32::from(self.first) + self.len - 1) as u16),
        }
    }

    /// Reads all of it, in as many requests as it takes; no value is parted.
    fn read(&self, client: &mut Client, unit: u8) -> Result<Vec<Cell>, Failure> {
        self.try_read(client, unit)
            .map_err(|(trouble, place)| failure(&trouble, unit, &format!("read {place}")))
    }

    fn try_read(&self, client: &mut Client, unit: u8) -> Result<Vec<Cell>, (Trouble, Place)> {
        let most = READ[usize::from(self.table.is_bits())];
        let most = (usize::from(most) / self.width).max(1) * self.width;
        let mut cells = Vec::new();
        let mut done = 0;
        while done < self.len {
            let count = (self.len - done).min(most as u32);
            let first = (u32::from(self.first) + done) as u16;
            let part = Self { first, len: count, ..*self };
            let answer = client.call(unit, &read(self.table, first, count as u16));
            cells.extend(part.cells(answer.map_err(|trouble| (trouble, part.place()))?));
            done += count;
        }
        Ok(cells)
    }

    fn cells(&self, response: Option<Response>) -> Vec<Cell> {
        let place = |i: usize| Place::one(self.table, self.first.wrapping_add((i * self.width) as u16));
        match response {
            Some(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)) => {
                let bits = bits.into_iter().take(self.len as usize).enumerate();
                bits.map(|(i, on)| Cell { place: place(i), shown: Shown::bit(on), kind: "bool" }).collect()
            }
            Some(Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words)) => {
                let kind = self.shape.kind.unwrap_or(Type::U16);
                let values = words.chunks_exact(self.width).enumerate();
                let shown = |words: &[u16]| kind.show(words, self.shape.order);
                values
                    .map(|(i, words)| Cell { place: place(i), shown: shown(words), kind: word(kind) })
                    .collect()
            }
            // A read of unit 0 on a serial line: nobody answers.
            _ => Vec::new(),
        }
    }
}

fn read(table: Table, first: u16, count: u16) -> Request<'static> {
    match table {
        Table::Coils => Request::ReadCoils(first, count),
        Table::DiscreteInputs => Request::ReadDiscreteInputs(first, count),
        Table::InputRegisters => Request::ReadInputRegisters(first, count),
        Table::HoldingRegisters => Request::ReadHoldingRegisters(first, count),
    }
}

fn write(
    place: Place,
    values: &[String],
    shape: ShapeArgs,
    multiple: bool,
) -> Result<Request<'static>, Failure> {
    let usage = |message: String| Failure::usage(message);
    let first = place.first;
    if matches!(place.table, Table::DiscreteInputs | Table::InputRegisters) {
        return Err(usage(format!(
            "{place} cannot be written over Modbus; only coils and holding registers can"
        )));
    }
    let fits = |len: usize| {
        let most = WRITE[usize::from(place.table.is_bits())];
        if len > most {
            return Err(usage(format!("{len} at once are too many; a device takes {most} in one request")));
        }
        if place.last.is_some() && len != place.len() as usize {
            return Err(usage(format!("{place} has {} addresses, the values take {len}", place.len())));
        }
        if usize::from(first) + len > 0x1_0000 {
            return Err(usage(format!("{len} values from {place} on pass the last address, 65535")));
        }
        Ok(())
    };
    if place.table == Table::Coils {
        if shape.kind.is_some() {
            return Err(usage(format!("{place} is a bit; --type is for registers")));
        }
        let bits = values.iter().map(|v| values::bit(v)).collect::<Result<Vec<_>, _>>().map_err(usage)?;
        fits(bits.len())?;
        return Ok(match bits[..] {
            [bit] if !multiple => Request::WriteSingleCoil(first, bit),
            _ => Request::WriteMultipleCoils(first, bits.into()),
        });
    }
    let kind = shape.kind.unwrap_or(Type::U16);
    let words = values.iter().map(|v| kind.registers(v, shape.order)).collect::<Result<Vec<_>, _>>();
    let words = words.map_err(usage)?.concat();
    if words.is_empty() {
        return Err(usage("there is nothing to write; give a value".to_owned()));
    }
    fits(words.len())?;
    Ok(match words[..] {
        [word] if !multiple => Request::WriteSingleRegister(first, word),
        _ => Request::WriteMultipleRegisters(first, words.into()),
    })
}

fn send(
    client: &mut Client,
    device: &DeviceArgs,
    place: Place,
    values: &[String],
    request: &Request<'static>,
    json: bool,
) -> Result<(), Failure> {
    let unit = device.unit;
    let answer = client.call(unit, request).map_err(|trouble| {
        let mut failure = failure(&trouble, unit, &format!("write {place}"));
        if matches!(trouble, Trouble::Silence(_)) {
            failure.message.push_str("; it may have been written all the same: read back what it holds");
        }
        failure
    })?;
    let confirmed = answer.is_some();
    if json {
        say(&json!({
            "unit": unit, "table": place.table.name(), "address": place.first, "written": values,
            "confirmed": confirmed,
        })
        .to_string());
    } else if confirmed {
        say(&format!("unit {unit}: {place} = {}", values.join(" ")));
    } else {
        say(&format!("all units: {place} = {} (a broadcast, which nobody confirms)", values.join(" ")));
    }
    Ok(())
}
