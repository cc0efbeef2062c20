//! Files: every format, framing and event; rows of files.

use super::*;

#[test]
fn framed_modbus_is_dissected_and_a_wrong_crc_is_flagged() {
    let Some((_dir, file)) = captured("rtac", "silence", |line| {
        line.info.rules.name(3, "flip3: corrupt");
        line.exchange();
        let mut spoilt = answer();
        spoilt[4] ^= 1;
        line.sent(50_000, 1, &query());
        line.put(11_000, TapKind::Fault, 0, 13, &[3, 0, 0, 0, 1, 0, 0, 0]);
        line.sent(100, 0, &spoilt);
    }) else {
        return;
    };
    let shown = fields(
        &file,
        &MODBUS,
        &[
            "frame.interface_name",
            "_ws.col.Protocol",
            "_ws.col.Info",
            "modbus.func_code",
            "modbus.regval_uint16",
            "frame.comment",
            "_ws.expert.message",
        ],
    );
    let expected = [
        "/dev/ttyUSB0|Modbus RTU|Query: Unit: 17, Func: 3: Read Holding Registers|3|||",
        "pty:master|Modbus RTU|Response: Unit: 17, Func: 3: Read Holding Registers|3|4660,22136||",
        "/dev/ttyUSB0|Modbus RTU|Query: Unit: 17, Func: 3: Read Holding Registers|3|||",
    ];
    assert_eq!(simple(&shown[..3]), expected, "{shown:#?}");
    assert!(shown[3].contains("4661,22136|fault flip3: corrupt, b->a at byte 13, 1 bytes"), "{}", shown[3]);
    assert!(shown[3].contains("Incorrect CRC [should be 0x"), "{}", shown[3]);
    // The time between the two is kept to the microsecond, and the query has the time of its first byte.
    let times = fields(&file, &MODBUS, &["frame.time_delta", "frame.time_epoch", "rtacser.timestamp"]);
    assert!(times[1].starts_with("0.012900000|"), "{times:#?}");
    let micros = times[1].split('|').nth(1).unwrap();
    let rtac = times[1].split('|').nth(2).unwrap();
    assert_eq!(&rtac[..rtac.find('.').unwrap() + 7], &micros[..micros.find('.').unwrap() + 7]);
    let response_times = fields(&file, &MODBUS, &["modbus.response_time"]);
    assert_eq!(response_times[1], "0.012900000");
}

/// Without the runs of spaces that columns are filled with.
fn simple(lines: &[String]) -> Vec<String> {
    let simple = |field: &str| field.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.iter().map(|line| line.split('|').map(simple).collect::<Vec<_>>().join("|")).collect()
}

#[test]
fn raw_chunks_are_as_they_were_written() {
    let Some((_dir, file)) = captured("rtac", "raw", |line| {
        line.exchange();
    }) else {
        return;
    };
    let shown = fields(&file, &[], &["rtacser.eventtype", "data.len", "frame.p2p_dir"]);
    assert_eq!(shown, ["0x01|3|0", "0x01|5|0", "0x01|9|0"]);
}

#[test]
fn a_terminator_cuts_lines() {
    let Some((_dir, file)) = captured("rtac", "terminator:0d0a", |line| {
        line.sent(0, 1, b"AT\r\nAT+");
        line.sent(10, 1, b"CSQ\r\n");
    }) else {
        return;
    };
    assert_eq!(fields(&file, &[], &["data.data"]), ["41540d0a", "41542b4353510d0a"]);
}

#[test]
fn lines_breaks_errors_losses_and_gaps_are_shown() {
    let Some((_dir, file)) = captured("rtac", "silence", |line| {
        let kinds = [
            (TapKind::Lines, 0),
            (TapKind::BreakOut, 0),
            (TapKind::Error(CharError::Framing), 0),
            (TapKind::Error(CharError::Parity), 0),
            (TapKind::Error(CharError::Overrun), 0),
            (TapKind::Gone, 0),
            (TapKind::Discarded, 12),
            (TapKind::Back, 0),
            (TapKind::Fault, 99),
        ];
        for (kind, value) in kinds {
            let payload: &[u8] = if kind == TapKind::Fault { &[5, 0, 0, 0, 8, 0, 0, 0] } else { &[] };
            line.put(30_000, kind, 1, value, payload);
        }
        line.put(30_000, TapKind::Lost, 1, 0, &[]);
    }) else {
        return;
    };
    let shown = fields(&file, &[], &["_ws.col.Info", "frame.p2p_dir", "frame.comment"]);
    let with_lines = "( /CTS /DCD /DSR RTS DTR /RING /MBOK )";
    let expected = [
        ("STATUS_CHANGE", "", ""),
        ("SERIAL_BREAK_EVENT", "0", ""),
        ("FRAMING_ERROR", "1", ""),
        ("PARITY_ERROR", "1", ""),
        ("SERIAL_OVERFLOW_EVENT", "1", ""),
        ("STATUS_CHANGE", "", "the port is gone: what is sent to it from here on is lost"),
        ("STATUS_CHANGE", "", "12 bytes for this port were discarded: nobody was there"),
        ("STATUS_CHANGE", "", "the port is back"),
        ("STATUS_CHANGE", "0", "fault rule 5, a->b at byte 99, 8 bytes"),
        ("CAPTURE_DATA_LOST", "", "0 bytes are missing here: the capture came too late for them"),
    ];
    let expected = expected.map(|(event, way, comment)| format!("{event} {with_lines}|{way}|{comment}"));
    let shown: Vec<_> = simple(&shown).iter().map(|line| line.replace(", ", " ")).collect();
    let expected: Vec<_> = expected.iter().map(|line| line.replace(", ", " ")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn a_loss_is_told_with_its_exact_count() {
    if !need("tshark") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), "rtac", "raw");
    let (mut tap, reader) = tap(200);
    let info = LinkInfo::new("line1", ["a".into(), "b".into()], Duration::ZERO);
    let put = |tap: &mut Tap, bytes: &[u8]| {
        let at = Time(Time::now().0 - 1_000_000);
        tap.record(TapRecord { at, kind: TapKind::Out, side: 0, lines: Lines::NONE, value: 0, bytes });
    };
    // Nobody empties the tap yet.
    for _ in 0..7 {
        put(&mut tap, &[7; 50]);
    }
    let hub = Hub::start().unwrap();
    let sink = hub.add(vec![info.key()], Box::new(PcapngSink::create(&spec).unwrap()));
    hub.attach(info, reader);
    while hub.report(sink).records < 2 {
        std::thread::yield_now();
    }
    put(&mut tap, b"after");
    let report = hub.remove(sink);
    assert_eq!((report.lost_bytes, report.bytes), (250, 105));
    let shown = fields(&spec.file, &[], &["rtacser.eventtype", "data.len", "frame.comment"]);
    let lost = "0x05||250 bytes are missing here: the capture came too late for them";
    assert_eq!(shown, ["0x01|50|", "0x01|50|", lost, "0x01|5|"]);
    let capinfos = lines_of("capinfos", &["-M", spec.file.to_str().unwrap()]).join("\n");
    assert!(capinfos.contains("Number of stat entries = 1"), "{capinfos}");
}

#[test]
fn an_exported_pdu_needs_no_setting() {
    let Some((_dir, file)) = captured("pdu:mbrtu", "silence", |line| {
        line.exchange();
        line.put(50_000, TapKind::BreakOut, 1, 0, &[]);
    }) else {
        return;
    };
    let columns = ["_ws.col.Source", "_ws.col.Destination", "_ws.col.Info", "modbus.regval_uint16"];
    let shown = simple(&fields(&file, &[], &columns));
    assert_eq!(shown[0], "10.0.0.1|10.0.0.2|Query: Unit: 17, Func: 3: Read Holding Registers|");
    assert_eq!(shown[1], "10.0.0.2|10.0.0.1|Response: Unit: 17, Func: 3: Read Holding Registers|4660,22136");
    assert!(shown[2].contains("SERIAL_BREAK_EVENT"), "{shown:#?}");
}

#[test]
fn each_file_of_a_row_is_valid_and_none_is_missing_a_packet() {
    if !need("capinfos") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "rtac", "raw");
    spec.rotate_megabytes = Some(0.01);
    let mut line = Line::new();
    let sink = line.to_file(&spec);
    for n in 0..500u32 {
        line.sent(100, (n & 1) as u8, &n.to_be_bytes());
        // In the past, all of it: one round would see it at once, and so fill several files.
    }
    let files = line.end(sink).files;
    assert!(files.len() > 2, "{files:?}");
    let mut seen = Vec::new();
    for (i, file) in files.iter().enumerate() {
        assert!(file.ends_with(format!("line-{:04}.pcapng", i + 1)), "{}", file.display());
        let infos = lines_of("capinfos", &["-M", file.to_str().unwrap()]).join("\n");
        for expected in [
            "File type:           pcapng",
            "RTAC serial-line",
            "File timestamp precision:  nanoseconds (9)",
            "Name = pty:master",
            "Description = side B of link line1",
            "Capture application: hilrig ",
            "Strict time order:   True",
        ] {
            assert!(infos.contains(expected), "{expected} is not in {infos}");
        }
        seen.extend(fields(file, &[], &["data.data"]));
    }
    assert_eq!(seen, (0..500).map(|n| format!("{n:08x}")).collect::<Vec<_>>());
}
