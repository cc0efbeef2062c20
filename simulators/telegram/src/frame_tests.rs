use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::file::{LengthEncoding, SumEncoding};
use crate::sum::{Crc, Sum};
use crate::travel::LengthField;

const GAP: Duration = Duration::from_millis(10);

fn check(sum: Sum, encoding: SumEncoding) -> Check {
    Check { sum, encoding, lead: [].into(), after_end: false, with_start: false, with_end: false, skip: 0 }
}

fn crc16() -> Sum {
    Sum::Crc(Crc { width: 16, poly: 0x8005, init: 0, refin: true, refout: true, xorout: 0 })
}

fn delimited(start: &[u8], end: &[u8]) -> Framing {
    Framing::Delimited { start: start.into(), end: end.into() }
}

fn dle() -> Framing {
    Framing::Dle { dle: 0x10, start: 2, end: 3 }
}

fn length(
    start: &[u8],
    end: &[u8],
    offset: usize,
    bytes: usize,
    encoding: LengthEncoding,
    plus: i64,
) -> Framing {
    let field = LengthField { offset, bytes, encoding, plus };
    Framing::Length { start: start.into(), end: end.into(), field }
}

fn travel(framing: Framing, check: Option<Check>) -> Travel {
    Travel { framing, check, gap: GAP }
}

/// Framings that carry any bytes, with the number of bytes that they carry (least, most).
fn transparent() -> Vec<(&'static str, Travel, usize, usize)> {
    let tail = |sum| Some(Check { after_end: true, with_end: true, ..check(sum, SumEncoding::Little) });
    let xor = Some(Check { with_start: true, ..check(Sum::Xor, SumEncoding::Big) });
    let hex = Some(check(Sum::Sum16, SumEncoding::Hex));
    let dle_sum = Some(check(Sum::Xor, SumEncoding::Big));
    let big = LengthEncoding::Big;
    vec![
        ("DLE", travel(dle(), None), 0, 400),
        ("DLE, CRC behind", travel(dle(), tail(crc16())), 0, 400),
        ("DLE, BCC inside", travel(dle(), dle_sum), 0, 400),
        ("length of all", travel(length(b"\x02", b"", 1, 1, big, 2), xor), 1, 252),
        (
            "length of what follows, end mark",
            travel(length(b"h", b"\x16", 3, 2, LengthEncoding::Little, 5), hex),
            2,
            600,
        ),
        ("ASCII length, no start", travel(length(b"", b"", 0, 4, LengthEncoding::Decimal, 0), None), 0, 600),
        (
            "hexadecimal length",
            travel(length(b"#", b"\r", 1, 3, LengthEncoding::Hex, 0), tail(crc16())),
            0,
            600,
        ),
        (
            "fixed",
            travel(
                Framing::Fixed { start: (*b"A").into(), length: 20 },
                Some(check(crc16(), SumEncoding::Big)),
            ),
            17,
            17,
        ),
        ("silence", travel(Framing::Silence, Some(check(crc16(), SumEncoding::Little))), 0, 600),
        ("FT1.2", travel(Framing::Ft12, None), 2, 255),
    ]
}

/// Framings whose marks must not be in what they carry.
fn textual() -> Vec<(&'static str, Travel)> {
    let nmea = Some(Check { lead: (*b"*").into(), ..check(Sum::Xor, SumEncoding::Hex) });
    let host = Some(Check { with_start: true, ..check(Sum::Xor, SumEncoding::HexLower) });
    let bcc = |encoding| Some(Check { after_end: true, with_end: true, ..check(Sum::Xor, encoding) });
    vec![
        ("terminator", travel(delimited(b"", b"\r\n"), None)),
        ("terminator, LRC", travel(delimited(b"", b"\r"), Some(check(Sum::Lrc, SumEncoding::Hex)))),
        ("marks with lead", travel(delimited(b"$", b"\r\n"), nmea)),
        ("marks", travel(delimited(b"@", b"*\r"), host)),
        ("STX ETX BCC", travel(delimited(b"\x02", b"\x03"), bcc(SumEncoding::Big))),
        ("STX ETX decimal", travel(delimited(b"\x02\x02", b"\x03"), bcc(SumEncoding::Decimal))),
    ]
}

/// Feeds bytes, cut in pieces of `cut`, and waits for silence; answers what was in the telegrams that came.
fn hear(framer: &mut Framer, now: &mut Time, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    for &byte in bytes {
        *now = *now + Duration::from_micros(1);
        if framer.push(*now, byte) == Heard::Telegram {
            heard.push(framer.body().to_vec());
        }
    }
    let mut last = None;
    while let Some(ends) = framer.silence_ends() {
        assert!(last.is_none_or(|last| ends > last), "silence is dealt with");
        last = Some(ends);
        *now = (*now).max(ends);
        if framer.expire(*now) == Heard::Telegram {
            heard.push(framer.body().to_vec());
        }
    }
    heard
}

fn wrap(travel: &Travel, body: &[u8]) -> Vec<u8> {
    let mut out = Buf::default();
    assert!(travel.wrap(body, &mut out), "{travel:?}: {body:02x?}");
    out.to_vec()
}

#[test]
fn published_telegrams() {
    // NMEA 0183: the GGA sentence that all documents of it show.
    let nmea = &textual()[2].1;
    let body = b"GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,";
    let wire = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";
    assert_eq!(wrap(nmea, body), wire);
    assert_eq!(hear(&mut Framer::new(nmea.clone()), &mut Time(0), wire), [body]);

    // Omron Host Link: read 10 words from DM 0.
    let host = travel(
        delimited(b"@", b"*\r"),
        Some(Check { with_start: true, ..check(Sum::Xor, SumEncoding::Hex) }),
    );
    assert_eq!(wrap(&host, b"00RD00000010"), b"@00RD0000001057*\r");

    // DF1 full duplex, CRC (Allen-Bradley 1770-6.5.16): the CRC covers data and ETX; this one is computed.
    let df1 = &transparent()[1].1;
    let wire = wrap(df1, &[0x07, 0x11, 0x10, 0x00]);
    assert_eq!(wire[..9], [0x10, 2, 0x07, 0x11, 0x10, 0x10, 0, 0x10, 3]);
    assert_eq!(
        crc16().of([0x07, 0x11, 0x10, 0, 3].iter()),
        u32::from(u16::from_le_bytes([wire[9], wire[10]]))
    );

    // USS, MICROMASTER reference manual 3.3: LGE counts what follows it, BCC covers all before it.
    let uss = &transparent()[3].1;
    let wire = wrap(uss, &[0x00, 0x04, 0x7E, 0x00, 0x00]);
    assert_eq!(wire, [0x02, 0x06, 0x00, 0x04, 0x7E, 0x00, 0x00, 0x7E]);

    // FT1.2 in M-Bus: SND_NKE and REQ_UD2 to address 1, and the acknowledgement.
    let ft12 = &transparent()[9].1;
    assert_eq!(wrap(ft12, &[0x40, 0x01]), [0x10, 0x40, 0x01, 0x41, 0x16]);
    assert_eq!(wrap(ft12, &[0x5B, 0x01]), [0x10, 0x5B, 0x01, 0x5C, 0x16]);
    assert_eq!(wrap(ft12, &[]), [0xE5]);
    assert_eq!(hear(&mut Framer::new(ft12.clone()), &mut Time(0), &[0xE5]), [Vec::<u8>::new()]);
}

#[test]
fn a_start_mark_begins_anew_and_what_was_before_is_noise() {
    let mut framer = Framer::new(textual()[3].1.clone());
    let good = wrap(&textual()[3].1, b"00RD");
    let mut noise = 0;
    let mut telegrams = 0;
    for byte in [b"xx@00R".as_slice(), &good, b"yy", &good].concat() {
        match framer.push(Time(0), byte) {
            Heard::Noise(n) => noise += n,
            Heard::Telegram => telegrams += 1,
            _ => {}
        }
    }
    assert_eq!((telegrams, noise), (2, 8));
}

#[test]
fn a_wrong_length_loses_no_more_than_up_to_silence() {
    for (name, travel, ..) in transparent() {
        let Framing::Length { start, field, .. } = &travel.framing else { continue };
        let mut framer = Framer::new(travel.clone());
        let mut now = Time(0);
        let mut bad = start.to_vec();
        bad.resize(field.offset, b'x');
        bad.extend(std::iter::repeat_n(b'x', field.bytes));
        assert_eq!(hear(&mut framer, &mut now, &bad), Vec::<Vec<u8>>::new(), "{name}");
        let good = wrap(&travel, b"ab");
        assert_eq!(hear(&mut framer, &mut now, &good), [b"ab"], "{name}");
    }
}

#[test]
fn a_wrong_checksum_is_told_apart_from_noise() {
    for (name, travel) in textual().into_iter().skip(1) {
        let mut wire = wrap(&travel, b"1234");
        let at = wire.iter().position(|b| *b == b'3').unwrap();
        wire[at] = b'7';
        let mut framer = Framer::new(travel);
        let heard: Vec<Heard> = wire.iter().map(|b| framer.push(Time(0), *b)).collect();
        assert_eq!(heard.last(), Some(&Heard::BadSum), "{name}");
        assert_eq!(framer.raw(), wire, "{name}");
    }
}

#[test]
fn too_long_and_too_short_telegrams_are_not_made() {
    let mut out = Buf::default();
    let all = transparent();
    for (at, body) in [(0, vec![0; MAX_TELEGRAM]), (3, vec![0; 300]), (7, vec![0; 16]), (9, vec![0; 256])] {
        assert!(!all[at].1.wrap(&body, &mut out), "{}", all[at].0);
    }
    assert!(!all[4].1.wrap(&[1], &mut out), "the length stands behind byte 3");
}

proptest! {
    #[test]
    fn what_is_framed_comes_out_again(body in prop::collection::vec(any::<u8>(), 0..600), n in 0_usize..10) {
        let (name, travel, least, most) = &transparent()[n];
        let body = &body[..body.len().min(*most)];
        prop_assume!(body.len() >= *least);
        let wire = wrap(travel, body);
        let mut framer = Framer::new(travel.clone());
        let mut now = Time(1);
        for _ in 0..2 {
            let heard = hear(&mut framer, &mut now, &wire);
            // Without a checksum and without anything in it there is no telegram in silence.
            if !wire.is_empty() {
                prop_assert_eq!(heard, [body], "{}", name);
            }
        }
    }

    #[test]
    fn text_that_is_framed_comes_out_again(body in "[ -#%-)+-?A-~]{0,80}", n in 0_usize..6) {
        let (name, travel) = &textual()[n];
        let wire = wrap(travel, body.as_bytes());
        let mut framer = Framer::new(travel.clone());
        let twice = [&wire[..], &wire[..]].concat();
        prop_assert_eq!(hear(&mut framer, &mut Time(0), &twice), [body.as_bytes(), body.as_bytes()], "{}", name);
    }

    /// Any bytes at any time never panic, are all accounted for, and after silence a good telegram is heard.
    #[test]
    fn after_any_bytes_and_silence_a_telegram_is_heard(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x10), Just(2), Just(3), Just(b'@'), Just(0x68)], 0..1500),
        n in 0_usize..16,
    ) {
        let travel = transparent().into_iter().map(|t| t.1).chain(textual().into_iter().map(|t| t.1)).nth(n).unwrap();
        let body: &[u8] = if n == 7 { b"seventeen bytes !" } else { b"1234" };
        let mut framer = Framer::new(travel.clone());
        let mut now = Time(1);
        hear(&mut framer, &mut now, &bytes);
        let heard = hear(&mut framer, &mut now, &wrap(&travel, body));
        prop_assert_eq!(heard, [body]);
    }

    /// No byte is counted twice or not at all, in framings that tell of each.
    #[test]
    fn noise_is_all_that_is_in_no_telegram(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'$'), Just(b'\n')], 0..300), cut in 0_usize..300) {
        let travel = textual()[2].1.clone();
        let good = wrap(&travel, b"x");
        let cut = cut.min(bytes.len());
        let all = [&bytes[..cut], &good[..], &bytes[cut..]].concat();
        let mut framer = Framer::new(travel);
        let mut counted = 0;
        for &byte in &all {
            counted += match framer.push(Time(1), byte) {
                Heard::Nothing => 0,
                Heard::Telegram | Heard::BadSum => framer.raw().len(),
                Heard::Noise(n) => n,
            };
        }
        if let Heard::Noise(n) = framer.expire(Time(u64::MAX)) {
            counted += n;
        }
        prop_assert_eq!(counted, all.len());
    }
}
