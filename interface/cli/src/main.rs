//! The `hilrig` binary: command line and wiring, nothing else.

mod apps;
mod args;
mod capture;
mod client;
mod extcap;
mod foreground;
mod inline;
mod modbus;
mod output;
mod plc;
mod replay;
mod rig;
mod runs;
mod setup;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match run(args) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(args: args::Args) -> Result<ExitCode, output::Failure> {
    use args::Command as C;
    let args::Args { command, root, connect, json } = args;
    match command {
        C::Serve { tcp, no_tcp, socket, token_file } => {
            apps::serve(root, (!no_tcp).then_some(tcp), socket, token_file)
        }
        C::Stdio => apps::stdio(root),
        C::Host { name } => apps::host(root, name),
        C::Call { method, params } => {
            client::call(&mut client::connect(&root, connect.as_deref())?, &method, params)
        }
        C::Status { app } => client::status(&mut client::connect(&root, connect.as_deref())?, app, json),
        C::Config { command } => {
            client::config(&mut client::connect(&root, connect.as_deref())?, command, json)
        }
        C::Action { command } => {
            client::action(&mut client::connect(&root, connect.as_deref())?, command, json)
        }
        C::Job { command } => client::job(&mut client::connect(&root, connect.as_deref())?, command, json),
        C::Run(args) => rig::run(&args, json),
        C::Link(args) => foreground::link(&args, json),
        C::Pair(args) => foreground::pair(&args, json),
        C::Capture(args) => capture::capture(&args, &root, connect.as_deref()),
        C::Replay(args) => replay::replay(&args, json),
        C::Plc(args) => plc::plc(*args, &root, connect.as_deref(), json),
        C::Modbus { command } => modbus::modbus(command, json),
        C::Runs { command } => runs::runs(command, &root, json),
        C::Ports => setup::ports(json),
        C::Doctor => setup::doctor(json),
        C::Init { dir } => setup::init(&dir.unwrap_or(root)),
        C::Completions { shell } => Ok(setup::completions(shell)),
    }
}
