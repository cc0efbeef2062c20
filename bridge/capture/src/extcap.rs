//! What Wireshark asks an extcap program, and the answers. No command line, no links: those are the caller's.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtcapRequest {
    /// `--extcap-interfaces`
    Interfaces,
    /// `--extcap-dlts --extcap-interface NAME`
    Dlts { interface: String },
    /// `--extcap-config --extcap-interface NAME`
    Config { interface: String },
    /// `--capture --extcap-interface NAME --fifo PATH`; see [`Extcap::capture`].
    Capture { interface: String, fifo: PathBuf },
}

/// The interfaces that are there: name and description.
#[derive(Debug, Clone, Default)]
pub struct Extcap {
    pub interfaces: Vec<(String, String)>,
}

impl Extcap {
    /// What to print. An error is a sentence for standard error.
    pub fn answer(&self, request: &ExtcapRequest) -> Result<String, String> {
        match request {
            ExtcapRequest::Interfaces => {
                let version = env!("CARGO_PKG_VERSION");
                let mut text = format!("extcap {{version={version}}}{{display=hilrig serial links}}\n");
                for (name, description) in &self.interfaces {
                    let (name, description) = (plain(name), plain(description));
                    text += &format!("interface {{value={name}}}{{display={description}}}\n");
                }
                Ok(text)
            }
            ExtcapRequest::Dlts { interface } => {
                self.known(interface)?;
                Ok("dlt {number=250}{name=RTAC_SERIAL}{display=RTAC serial line}\n".to_owned())
            }
            ExtcapRequest::Config { interface } => {
                self.known(interface)?;
                Ok(CONFIG.to_owned())
            }
            ExtcapRequest::Capture { interface, .. } => self.known(interface).map(|_| String::new()),
        }
    }

    /// Copies what `open` yields for the interface, a pcapng stream, into the FIFO until one of them ends. Wireshark
    /// closing the FIFO is a good end. Answers the bytes copied.
    pub fn capture<R: Read>(
        &self,
        interface: &str,
        fifo: &Path,
        open: impl FnOnce(&str) -> io::Result<R>,
    ) -> io::Result<u64> {
        let name = self.known(interface).map_err(|e| io::Error::new(io::ErrorKind::NotFound, e))?;
        let mut stream = open(name)?;
        let mut fifo = File::options()
            .write(true)
            .open(fifo)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot open the FIFO {}: {e}", fifo.display())))?;
        match io::copy(&mut stream, &mut fifo) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            other => other,
        }
    }

    /// The name as it was given to us.
    fn known(&self, interface: &str) -> Result<&str, String> {
        let found = self.interfaces.iter().find(|(name, _)| plain(name) == interface || name == interface);
        found.map(|(name, _)| name.as_str()).ok_or_else(|| format!("there is no interface `{interface}`"))
    }
}

/// Options that Wireshark shows, with the names that a capture has in our configs.
const CONFIG: &str = "\
arg {number=0}{call=--format}{display=Packets}{tooltip=rtac: modem lines and errors are shown, the protocol is chosen by Decode As. pdu:NAME: opens as the dissector NAME, as in pdu:mbrtu}{type=string}{default=rtac}
arg {number=1}{call=--framing}{display=Framing}{tooltip=raw, silence, silence:2ms, terminator:0d0a}{type=string}{default=silence}
arg {number=2}{call=--points}{display=Captured}{tooltip=Where in the link bytes are seen}{type=selector}
value {arg=2}{value=out}{display=as written to the ports (after faults)}{default=true}
value {arg=2}{value=in}{display=as they came from the ports (before faults)}{default=false}
value {arg=2}{value=both}{display=both}{default=false}
";

/// Braces and line ends have a meaning in answers.
fn plain(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '{' | '}' | '\n' | '\r') { '_' } else { c }).collect()
}
