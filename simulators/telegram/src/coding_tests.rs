use proptest::prelude::*;

use super::*;

fn written(coding: Coding, number: Number) -> Vec<u8> {
    let mut out = Buf::default();
    coding.write(number, &mut out);
    out.to_vec()
}

fn decimal(width: Option<usize>, decimals: usize) -> Decimal {
    Decimal { width, decimals, no_point: false, sign: false, pad: b' ', left: false }
}

fn text(coding: Decimal, number: Number) -> String {
    String::from_utf8(written(Coding::Decimal(coding), number)).unwrap()
}

#[test]
fn numbers_in_binary() {
    let (big, little) = (Order::Big, Order::Little);
    for (coding, number, bytes) in [
        (Coding::Uint { bytes: 2, order: big }, Number::Int(0x1234), vec![0x12, 0x34]),
        (Coding::Uint { bytes: 3, order: little }, Number::Int(0x01_0203), vec![3, 2, 1]),
        (Coding::Uint { bytes: 2, order: big }, Number::Int(70_000), vec![0xFF, 0xFF]),
        (Coding::Uint { bytes: 1, order: big }, Number::Int(-5), vec![0]),
        (Coding::Uint { bytes: 8, order: big }, Number::Int(u64::MAX.into()), vec![0xFF; 8]),
        (Coding::Int { bytes: 2, order: little }, Number::Float(-1.6), vec![0xFE, 0xFF]),
        (Coding::Int { bytes: 1, order: big }, Number::Int(-1000), vec![0x80]),
        (Coding::Float { bytes: 4, order: big }, Number::Float(50.0), vec![0x42, 0x48, 0, 0]),
        (Coding::Float { bytes: 8, order: little }, Number::Float(1.0), vec![0, 0, 0, 0, 0, 0, 0xF0, 0x3F]),
        (Coding::Bcd { bytes: 2, order: little }, Number::Int(113), vec![0x13, 0x01]),
        (Coding::Bcd { bytes: 2, order: big }, Number::Int(123_456), vec![0x99, 0x99]),
        (Coding::Hex { digits: 4, lower: false }, Number::Int(-1), b"FFFF".to_vec()),
        (Coding::Hex { digits: 2, lower: true }, Number::Int(0xAB), b"ab".to_vec()),
        (Coding::String { length: Some(4), pad: b' ' }, Number::Int(7), b"7   ".to_vec()),
    ] {
        assert_eq!(written(coding, number), bytes, "{coding:?} {number:?}");
    }
}

#[test]
fn numbers_in_decimal() {
    let plain = decimal(Some(8), 2);
    assert_eq!(text(plain, Number::Float(12.345)), "   12.35");
    assert_eq!(text(plain, Number::Int(-7)), "   -7.00");
    assert_eq!(text(plain, Number::Float(1e9)), "********");
    assert_eq!(text(plain, Number::Float(f64::NAN)), "********");
    assert_eq!(text(Decimal { pad: b'0', ..plain }, Number::Float(-1.5)), "-0001.50");
    assert_eq!(text(Decimal { left: true, ..plain }, Number::Float(1.5)), "1.50    ");
    assert_eq!(text(Decimal { sign: true, pad: b'0', ..plain }, Number::Float(1.5)), "+0001.50");
    assert_eq!(text(Decimal { no_point: true, pad: b'0', ..plain }, Number::Float(12.5)), "00001250");
    assert_eq!(text(decimal(None, 0), Number::Int(i128::from(u64::MAX))), "18446744073709551615");
    assert_eq!(text(decimal(None, 1), Number::Float(-0.01)), "0.0");
    assert_eq!(text(decimal(None, 0), Number::Float(f64::INFINITY)), "*");
}

#[test]
fn decimal_numbers_as_instruments_write_them_are_read() {
    let read = |coding: Decimal, text: &str| {
        let got = Coding::Decimal(coding).read(text.as_bytes(), 0, None)?;
        match got {
            (Got::Number(n), len) => Some((n.float(), len)),
            _ => None,
        }
    };
    assert_eq!(read(decimal(Some(8), 2), "-  12.34kg"), Some((-12.34, 8)));
    assert_eq!(read(decimal(Some(4), 0), "  +7"), Some((7.0, 4)));
    assert_eq!(read(decimal(None, 0), "12.5,x"), Some((12.5, 4)));
    assert_eq!(read(Decimal { no_point: true, ..decimal(Some(5), 2) }, "01250"), Some((12.5, 5)));
    for (coding, bad) in [
        (decimal(Some(4), 0), "12"),
        (decimal(Some(4), 0), "1x34"),
        (decimal(None, 0), ","),
        (decimal(None, 0), "1-2"),
        (decimal(None, 0), "1.2.3"),
        (decimal(Some(2), 0), "--"),
    ] {
        assert_eq!(read(coding, bad), None, "{bad}");
    }
}

#[test]
fn text_ends_at_its_length_or_before_what_follows() {
    let read = |length, stop: Option<&[u8]>| Coding::String { length, pad: b' ' }.read(b"ab  ,cd", 3, stop);
    assert_eq!(read(Some(4), None), Some((Got::Text(3..5), 4)));
    assert_eq!(read(None, Some(b",")), Some((Got::Text(3..5), 4)));
    assert_eq!(read(None, None), Some((Got::Text(3..10), 7)));
    assert_eq!(read(None, Some(b";")), None);
    assert_eq!(read(Some(9), None), None);
    let mut out = Buf::default();
    Coding::String { length: Some(5), pad: b'.' }.write_text("Gr\u{fc}\u{263a}".chars(), &mut out);
    assert_eq!(&*out, b"Gr\xFC?.");
}

proptest! {
    #[test]
    fn whole_numbers_come_back(n in any::<i64>(), bytes in 1_usize..=8, little in any::<bool>()) {
        let order = if little { Order::Little } else { Order::Big };
        let n = n >> (64 - 8 * bytes);
        let unsigned = n as u64 & (u64::MAX >> (64 - 8 * bytes));
        let bcd = unsigned % 10_u64.pow(2 * bytes as u32);
        for (coding, n) in [
            (Coding::Int { bytes, order }, i128::from(n)),
            (Coding::Uint { bytes, order }, unsigned.into()),
            (Coding::Hex { digits: 2 * bytes, lower: little }, unsigned.into()),
            (Coding::Bcd { bytes, order }, bcd.into()),
            (Coding::Decimal(decimal(Some(24), 0)), n.into()),
            (Coding::Decimal(decimal(None, 0)), n.into()),
        ] {
            let out = written(coding, Number::Int(n));
            prop_assert_eq!(coding.read(&out, 0, None), Some((Got::Number(Number::Int(n)), out.len())));
        }
    }

    #[test]
    fn fractions_come_back(x in any::<f64>(), y in -1e6..1e6_f64, pad in prop_oneof![Just(b' '), Just(b'0'), Just(b'_')]) {
        let out = written(Coding::Float { bytes: 8, order: Order::Big }, Number::Float(x));
        prop_assert_eq!(&out, &x.to_bits().to_be_bytes());
        let coding = Coding::Decimal(Decimal { pad, ..decimal(Some(12), 3) });
        let out = written(coding, Number::Float(y));
        prop_assert_eq!(out.len(), 12);
        match coding.read(&out, 0, None) {
            Some((Got::Number(n), 12)) => prop_assert!((n.float() - y).abs() < 0.000_51, "{} {}", n.float(), y),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..40), width in prop::option::of(1_usize..20), no_point in any::<bool>()) {
        for coding in [
            Coding::Decimal(Decimal { no_point, ..decimal(width, 2) }),
            Coding::Hex { digits: width.unwrap_or(8).min(16), lower: false },
            Coding::Bcd { bytes: 8, order: Order::Big },
            Coding::String { length: width, pad: 0 },
        ] {
            if let Some((_, len)) = coding.read(&bytes, 0, None) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
