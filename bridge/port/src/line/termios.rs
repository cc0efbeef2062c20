//! Sets a tty to a baud rate, a character format and a flow control, raw in all else, and sees what became of it.
//! Raises and lowers no modem line.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::serial_options::{Flow, Format, Parity, StopBits};
use crate::{LineSettings, sys};

/// Tries of setting a line that its last user's virtual port is just making ready for the next one.
const TRIES: usize = 5;

/// How a tty is to be set.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) settings: LineSettings,
    /// Lower DTR and RTS at the last close.
    pub(crate) hupcl: bool,
    /// Mark breaks and errors among the bytes. Otherwise a break reads as a NUL, a wrong byte like a right one.
    pub(crate) marks: bool,
}

const FORMAT: ControlModes = ControlModes::CSIZE
    .union(ControlModes::CSTOPB)
    .union(ControlModes::PARENB)
    .union(ControlModes::PARODD)
    .union(ControlModes::CMSPAR);

/// What cooks bytes; off on any line of ours.
const COOKED: LocalModes = LocalModes::ICANON.union(LocalModes::ISIG).union(LocalModes::ECHO);

impl Wanted {
    /// Sets it and answers how it is set now.
    pub(crate) fn set(&self, tty: impl AsFd, is_pty: bool) -> Result<Termios, Errno> {
        let tty = tty.as_fd();
        let mut now = tcgetattr(tty)?;
        for _ in 0..TRIES {
            let mut termios = now.clone();
            self.change(&mut termios)?;
            tcsetattr(tty, OptionalActions::Now, &termios)?;
            now = tcgetattr(tty)?;
            if !now.local_modes.intersects(COOKED) && (!is_pty || now.output_speed() == self.settings.baud) {
                break;
            }
        }
        Ok(now)
    }

    fn change(&self, termios: &mut Termios) -> Result<(), Errno> {
        let LineSettings { baud, format, flow } = self.settings;
        termios.make_raw();
        termios.control_modes.remove(FORMAT | ControlModes::CRTSCTS | ControlModes::HUPCL);
        // CLOCAL: DCD is a line like the others, and no reason to hang up.
        termios.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL | format_bits(format);
        termios.control_modes.set(ControlModes::CRTSCTS, flow == Flow::RtsCts);
        termios.control_modes.set(ControlModes::HUPCL, self.hupcl);
        let marks = InputModes::PARMRK | InputModes::INPCK;
        termios.input_modes.remove(InputModes::IXANY | InputModes::IXOFF | InputModes::IGNPAR | marks);
        termios.input_modes.set(InputModes::IXON | InputModes::IXOFF, flow == Flow::XonXoff);
        termios.input_modes.set(marks, self.marks);
        let codes = &mut termios.special_codes;
        // With VMIN 0 a read that finds nothing would look like a hang-up.
        (codes[SpecialCodeIndex::VMIN], codes[SpecialCodeIndex::VTIME]) = (1, 0);
        (codes[SpecialCodeIndex::VSTART], codes[SpecialCodeIndex::VSTOP]) = (0x11, 0x13);
        termios.set_speed(baud)
    }

    /// Whether a line that is set like this will do; answers the baud rate that the driver tells, or why not.
    pub(crate) fn check(&self, now: &Termios, is_pty: bool) -> Result<u32, String> {
        if now.local_modes.intersects(COOKED) {
            return Err("the port does not take the settings of a raw line".into());
        }
        let LineSettings { format, flow, .. } = self.settings;
        // A PTY hides parity and word length, and bytes pass it unharmed.
        let wrong = (now.control_modes ^ format_bits(format)) & FORMAT;
        if !is_pty && !wrong.is_empty() {
            return Err(format!("its driver cannot do {format}"));
        }
        if flow == Flow::RtsCts && !now.control_modes.contains(ControlModes::CRTSCTS) {
            return Err("its driver cannot do RTS/CTS flow control".into());
        }
        Ok(now.output_speed())
    }
}

fn format_bits(format: Format) -> ControlModes {
    let size = match format.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    };
    let parity = match format.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        Parity::Mark => ControlModes::PARENB | ControlModes::PARODD | ControlModes::CMSPAR,
        Parity::Space => ControlModes::PARENB | ControlModes::CMSPAR,
    };
    let mut bits = size | parity;
    bits.set(ControlModes::CSTOPB, format.stop_bits != StopBits::One);
    bits
}

/// A UART's "two stop bits" is one and a half at five data bits, and only there.
pub(crate) fn check_format(format: Format) -> Result<(), &'static str> {
    match (format.stop_bits, format.data_bits) {
        (StopBits::OneAndHalf, 6..) => Err("one and a half stop bits exist only with 5 data bits"),
        (StopBits::Two, ..=5) => Err("with 5 data bits a port sends 1 or 1.5 stop bits, not 2"),
        _ => Ok(()),
    }
}

/// The baud rate that a line really has. Drivers of simple UARTs tell the one they were asked for, whatever the
/// divisor made of it.
pub(crate) fn actual_baud(tty: impl AsFd, told: u32) -> u32 {
    match sys::divided_baud(tty) {
        Some(base) if told > 0 && told <= base => base / ((base + told / 2) / told),
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_bits_are_those_that_a_uart_can_send() {
        for (format, possible) in [
            ("5N1.5", true),
            ("5N2", false),
            ("5N1", true),
            ("6N1.5", false),
            ("8N1.5", false),
            ("7E2", true),
        ] {
            assert_eq!(check_format(format.parse().unwrap()).is_ok(), possible, "{format}");
        }
    }

    #[test]
    fn each_format_has_bits_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for bits in '5'..='8' {
            for parity in "NEOMS".chars() {
                for stop in ["1", "2"] {
                    let format: Format = format!("{bits}{parity}{stop}").parse().unwrap();
                    assert!(seen.insert(format_bits(format).bits()), "{format}");
                    assert!(FORMAT.contains(format_bits(format)));
                }
            }
        }
    }
}
