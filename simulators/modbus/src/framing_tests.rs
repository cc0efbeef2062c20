use super::*;

#[test]
fn names_are_read_and_printed() {
    for framing in Framing::ALL {
        assert_eq!(framing.to_string().parse(), Ok(framing));
        assert_eq!(serde_json::to_value(framing).unwrap(), framing.name());
    }
    let known = "`rut` is not a framing; known are rtu, ascii, tcp, rtu-over-tcp, ascii-over-tcp";
    assert_eq!("rut".parse::<Framing>(), Err(known.to_owned()));
}

#[test]
fn each_framing_finds_its_own_frames() {
    let timing = Timing::new(19200, "8E1".parse().unwrap());
    for framing in Framing::ALL {
        for pdu in [&[3, 0, 1, 0, 2][..], &[16, 0, 0, 0, 1, 2, 9, 9], &[7]] {
            let mut out = [0; MAX_ADU];
            let len = encode(framing, 0x0203, 5, pdu, &mut out);
            let mut framer = Framer::new(framing, &timing);
            for (i, byte) in out[..len].iter().enumerate() {
                assert!(!framer.is_whole(Form::Request), "{framing} {i}");
                assert_eq!(framer.push(Time(1), *byte), None);
            }
            assert!(framer.is_whole(Form::Request), "{framing}");
            assert_eq!(framer.judge(), Chunk::Frame);
            assert_eq!(framer.collected(), len as u64);
            let transaction = if framing == Framing::Tcp { 0x0203 } else { 0 };
            assert_eq!(framer.adu(), Adu { transaction, unit: 5, pdu });
            assert_eq!(framer.head(), Some((5, pdu[0])));
            framer.clear();
            assert_eq!((framer.collected(), framer.silence_ends(), framer.head()), (0, None, None));
        }
    }
}
