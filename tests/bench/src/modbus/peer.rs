//! A server on tokio-modbus as its examples show it, so that it can be measured as a process of its own.

use std::future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio_modbus::server::{Service, rtu, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use super::load::REGISTERS;
use crate::Failure;

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    on: On,
}

#[derive(Debug, clap::Subcommand)]
enum On {
    Tcp { port: u16 },
    Rtu { path: PathBuf, baud: u32 },
}

struct Registers(Mutex<[u16; REGISTERS as usize]>);

impl Service for Registers {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = |at: u16, n: usize| usize::from(at)..usize::from(at) + n;
        let wrong = ExceptionCode::IllegalDataAddress;
        future::ready(match request.request {
            Request::ReadHoldingRegisters(at, n) => all
                .get(range(at, usize::from(n)))
                .map(|cells| Response::ReadHoldingRegisters(cells.to_vec()))
                .ok_or(wrong),
            Request::WriteMultipleRegisters(at, values) => match all.get_mut(range(at, values.len())) {
                Some(cells) => {
                    cells.copy_from_slice(&values);
                    Ok(Response::WriteMultipleRegisters(at, values.len() as u16))
                }
                None => Err(wrong),
            },
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// Serves until it is killed.
pub fn run(options: &Options) -> Result<(), Failure> {
    let service = Arc::new(Registers(Mutex::new([0; REGISTERS as usize])));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &options.on {
            On::Tcp { port } => {
                let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).await?;
                let connected = |stream: tokio::net::TcpStream, _| {
                    let service = service.clone();
                    async move {
                        stream.set_nodelay(true)?;
                        Ok(Some((service, stream)))
                    }
                };
                tcp::Server::new(listener).serve(&connected, |_| {}).await?;
            }
            On::Rtu { path, baud } => {
                let serial =
                    tokio_serial::SerialStream::open(&tokio_serial::new(path.to_string_lossy(), *baud));
                let serial = serial.map_err(|e| Failure::Missing(format!("{}: {e}", path.display())))?;
                rtu::Server::new(serial).serve_forever(service).await?;
            }
        }
        Ok(())
    })
}
