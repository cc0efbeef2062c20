//! What goes in comes out, whatever happens to the writer.

use std::path::PathBuf;
use std::time::Duration;

use hilrig_capture::{Framing, LinkInfo, Points, Sink};
use hilrig_port::{CharError, DirectionSnapshot, Lines, LinkSnapshot, TapKind, TapRecord, Time};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("runs.db");
    (dir, db)
}

fn link(name: &str) -> LinkInfo {
    let ports = ["pty:a".to_owned(), "tcp:10.0.0.1:502".to_owned()];
    LinkInfo::new(name, ports, Duration::from_millis(1))
}

/// Takes everything that a tap tells.
fn info(name: &str) -> RunInfo {
    RunInfo { points: Points::Both, ..RunInfo::new(name, "hilrig link pty:a tcp:10.0.0.1:502") }
}

fn tapped(kind: TapKind, side: u8, value: u64, bytes: &[u8]) -> TapRecord<'_> {
    TapRecord { at: Time::now(), kind, side, lines: Lines::CTS | Lines::DTR, value, bytes }
}

const ALL: Window = Window { events: usize::MAX >> 1, frames: usize::MAX >> 1 };

#[test]
fn a_run_comes_out_as_it_went_in() {
    let ((_dir, db), line) = (place(), link("line"));
    let mut run = info("bench 1");
    run.seed = Some(u64::MAX);
    run.config = "profile = \"lab\"".to_owned();
    run.links.push(RunLink { name: "idle".to_owned(), a: "pty:x".to_owned(), b: "pty:y".to_owned() });
    let (mut recorder, recording) = RunRecorder::start(&db, run).unwrap();
    line.rules.name(5, "flip: corrupt");
    for (kind, side, value, bytes) in [
        (TapKind::Out, 1, 0, &[1, 2, 3][..]),
        (TapKind::Lines, 0, 0, &[]),
        (TapKind::Error(CharError::Parity), 0, 0, &[]),
        (TapKind::BreakIn, 0, 0, &[]),
        (TapKind::BreakOut, 1, 0, &[]),
        (TapKind::Fault, 1, 17, &[4, 0, 0, 0, 2, 0, 0, 0]),
        (TapKind::Fault, 1, 18, &[5, 0, 0, 0, 1, 0, 0, 0]),
        (TapKind::Gone, 1, 0, &[]),
        (TapKind::Discarded, 1, 12, &[]),
        (TapKind::Back, 1, 0, &[]),
        (TapKind::Out, 1, 0, &[0xff]),
        (TapKind::Lost, 0, 5, &[]),
        (TapKind::Out, 0, 0, &[9, 8]),
    ] {
        recorder.record(&line, &tapped(kind, side, value, bytes)).unwrap();
    }
    drop(recorder);
    let counted = DirectionSnapshot { bytes_in: 6, bytes_out: 4, fault_bytes: 2, ..Default::default() };
    let idle = ("idle".to_owned(), LinkSnapshot::default());
    let line = ("line".to_owned(), LinkSnapshot { directions: [counted, Default::default()] });
    let recorded = recording.finish("pass", "all well", &[line, idle]).unwrap();
    assert_eq!((recorded.id, recorded.frames, recorded.bytes), (1, 3, 6));
    assert_eq!((recorded.lost_records, recorded.lost_bytes), (0, 5));

    let run = show(&db, None, ALL).unwrap();
    assert_eq!((run.seed, run.config.as_str()), (Some(u64::MAX), "profile = \"lab\""));
    assert_eq!((run.run.outcome.as_str(), run.run.message.as_str()), ("pass", "all well"));
    let frames: Vec<_> = run.frames.iter().map(|f| (f.direction.as_str(), f.bytes.as_str(), f.gap)).collect();
    assert_eq!(frames, [("a->b", "010203", false), ("a->b", "ff", true), ("b->a", "0908", true)]);
    let events: Vec<_> =
        run.events.iter().map(|e| (e.kind.as_str(), e.side.as_str(), e.detail.as_str())).collect();
    assert_eq!(
        events,
        [
            ("lines", "a", "CTS DTR"),
            ("parity", "a", ""),
            ("break", "a", "received"),
            ("break", "b", "sent"),
            ("fault", "b", "rule 4, at byte 17, 2 bytes"),
            ("fault", "b", "flip: corrupt, at byte 18, 1 bytes"),
            ("gone", "b", ""),
            ("discarded", "b", "12 bytes"),
            ("back", "b", ""),
            ("lost", "a", "5 bytes that the link could not hand over"),
        ]
    );
    assert_eq!(run.links.len(), 2);
    let (idle, line) = (&run.links[0], &run.links[1]);
    assert_eq!((idle.directions[0].frames, idle.directions[0].account.as_ref().unwrap().bytes_in), (0, 0));
    let [ab, ba] = &line.directions[..] else { panic!("{line:?}") };
    assert_eq!((ab.bytes, ab.frames, ab.gaps, ab.errors, ab.breaks, ab.faults), (4, 2, 2, 1, 1, 2));
    assert_eq!((ba.bytes, ba.frames, ba.gaps, ba.lost_bytes), (2, 1, 2, 5));
    assert_eq!(ab.account.as_ref().map(|a| (a.bytes_in, a.bytes_out, a.fault_bytes)), Some((6, 4, 2)));
    let expected =
        Counts { runs: 1, unfinished: 0, links: 2, frames: 3, bytes: 6, events: 10, statistics: 4 };
    assert_eq!(counts(&db).unwrap(), expected);
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!((&json["lostBytes"], &json["links"][1]["a"]), (&5.into(), &"pty:a".into()));
}

#[test]
fn a_run_without_an_end_is_readable_and_unfinished() {
    let ((_dir, db), line) = (place(), link("line"));
    let (mut recorder, recording) = RunRecorder::start(&db, info("one")).unwrap();
    recorder.record(&line, &tapped(TapKind::In, 0, 0, b"abc")).unwrap();
    recorder.flush();
    // As after a kill: nobody says that it is over.
    wait(|| counts(&db).unwrap().frames == 1);
    drop(recording);
    drop(recorder);
    let runs = list(&db).unwrap();
    assert_eq!((runs[0].outcome.as_str(), runs[0].ended.as_ref(), runs[0].bytes), ("unfinished", None, 3));
    assert_eq!(counts(&db).unwrap().unfinished, 1);
    let (_recorder, recording) = RunRecorder::start(&db, info("two")).unwrap();
    assert_eq!(recording.finish("pass", "", &[]).unwrap().id, 2);
    assert_eq!(list(&db).unwrap().len(), 2);
}

#[track_caller]
fn wait(mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < end, "not within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Somebody else holds the database: what the queue cannot keep is missing, to the byte, and the rest is there.
#[test]
fn a_slow_disk_loses_nothing_in_silence() {
    let ((_dir, db), line) = (place(), link("line"));
    let (mut recorder, recording) = RunRecorder::start_with(&db, info("slow"), 100_000).unwrap();
    let other = rusqlite::Connection::open(&db).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut sent = 0;
    for i in 0..5000u64 {
        let bytes = vec![i as u8; 1 + i as usize % 90];
        sent += bytes.len() as u64;
        recorder.record(&line, &tapped(TapKind::Out, (i % 2) as u8, 0, &bytes)).unwrap();
        if i % 500 == 0 {
            recorder.flush();
        }
    }
    other.execute_batch("COMMIT").unwrap();
    drop(recorder);
    let recorded = recording.finish("pass", "", &[]).unwrap();
    assert!(recorded.lost_records > 0, "the queue holds less than that");
    assert_eq!(recorded.frames + recorded.lost_records, 5000);
    assert_eq!(recorded.bytes + recorded.lost_bytes, sent);
    let run = show(&db, Some(recorded.id), ALL).unwrap();
    let told = run.event_counts.iter().find(|e| e.kind == "unrecorded").expect("an event says so").count;
    assert!(told > 0 && run.run.lost_bytes == recorded.lost_bytes);
}

#[test]
fn a_writer_that_fails_says_what_is_missing() {
    let ((_dir, db), line) = (place(), link("line"));
    let (mut recorder, recording) = RunRecorder::start(&db, info("broken")).unwrap();
    let other = rusqlite::Connection::open(&db).unwrap();
    other.execute_batch("DROP TABLE frames").unwrap();
    recorder.record(&line, &tapped(TapKind::In, 0, 0, b"abc")).unwrap();
    recorder.flush();
    let mut said = None;
    wait(|| {
        said = recorder.tick(Time::now()).err();
        said.is_some()
    });
    assert!(said.unwrap().to_string().contains("frames"));
    recorder.tick(Time::now()).expect("said once");
    recorder.record(&line, &tapped(TapKind::In, 0, 0, b"de")).unwrap();
    drop(recorder);
    let error = recording.finish("pass", "", &[]).unwrap_err();
    let RecordError::Incomplete { lost_records: 2, lost_bytes: 5, .. } = &error else { panic!("{error:?}") };
    assert!(error.to_string().contains("incomplete"), "{error}");
}

#[test]
fn what_is_not_ours_is_refused_in_words() {
    let (dir, db) = place();
    let start = |db: &std::path::Path| RunRecorder::start(db, info("x")).map(drop);
    let refusal = |db: &std::path::Path| {
        let (write, read) = (start(db).unwrap_err().to_string(), list(db).unwrap_err().to_string());
        assert_eq!(write, read);
        assert!(write.contains(db.to_str().unwrap()), "{write}");
        write
    };
    assert!(matches!(list(&db), Err(RecordError::Absent { .. })));
    let text = dir.path().join("notes.txt");
    std::fs::write(
        &text,
        "Not a database, but longer than the head of one, so that it is looked at. ".repeat(9),
    )
    .unwrap();
    assert!(refusal(&text).contains("not a database"));
    let foreign = dir.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
    assert!(refusal(&foreign).contains("another program"));
    start(&db).unwrap();
    for (version, said) in [(schema::VERSION + 1, "newer version"), (schema::VERSION - 1, "older version")] {
        let conn = rusqlite::Connection::open(&db).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
        assert!(refusal(&db).contains(said));
    }
    std::fs::write(dir.path().join("empty.db"), "").unwrap();
    assert!(matches!(list(&dir.path().join("empty.db")), Err(RecordError::Empty { .. })));
    let nowhere = start(&dir.path().join("no/such/dir.db")).unwrap_err();
    assert!(nowhere.to_string().contains("no/such"), "{nowhere}");
    let (recorder, _recording) = RunRecorder::start(&dir.path().join("empty.db"), info("x")).unwrap();
    drop(recorder);
    let none = show(&dir.path().join("empty.db"), Some(7), ALL).unwrap_err();
    assert!(none.to_string().contains("no run 7"));
}

/// As many processes that record into one file; here they are threads with connections of their own.
#[test]
fn several_record_into_one_file_at_once() {
    let (_dir, db) = place();
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let db = &db;
            scope.spawn(move || {
                let line = link("line");
                let (mut recorder, recording) = RunRecorder::start(db, info(&writer.to_string())).unwrap();
                for i in 0..2000u64 {
                    recorder.record(&line, &tapped(TapKind::In, 0, 0, &[writer; 9])).unwrap();
                    if i % 100 == 0 {
                        recorder.flush();
                    }
                }
                drop(recorder);
                let recorded = recording.finish("pass", "", &[]).unwrap();
                assert_eq!((recorded.frames, recorded.lost_records), (2000, 0));
            });
        }
    });
    assert_eq!(counts(&db).unwrap().frames, 8000);
    for run in list(&db).unwrap() {
        assert_eq!((run.frames, run.bytes, run.outcome.as_str()), (2000, 18_000, "pass"));
    }
}

/// A million frames, as a soak brings them. Takes seconds in a build without optimisation.
#[test]
fn a_million_frames_are_all_there() {
    const FRAMES: u64 = 1_000_000;
    let ((_dir, db), line) = (place(), link("line"));
    let begun = std::time::Instant::now();
    let (mut recorder, recording) = RunRecorder::start(&db, info("soak")).unwrap();
    for i in 0..FRAMES {
        while recorder.shared_queue() > (24 << 20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let bytes = i.to_le_bytes();
        recorder.record(&line, &tapped(TapKind::Out, (i % 2) as u8, 0, &bytes)).unwrap();
    }
    drop(recorder);
    let recorded = recording.finish("pass", "", &[]).unwrap();
    assert_eq!((recorded.frames, recorded.bytes, recorded.lost_records), (FRAMES, 8 * FRAMES, 0));
    assert_eq!(counts(&db).unwrap().frames, FRAMES);
    let last = show(&db, None, Window { frames: 1, events: 0 }).unwrap().frames;
    assert_eq!(last[0].bytes, "3f420f0000000000");
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}: something is badly slow", begun.elapsed());
}

/// What Modbus would be: pieces of a frame come in any cut, and silence parts frames.
#[test]
fn frames_are_cut_by_silence() {
    let ((_dir, db), line) = (place(), link("line"));
    let run = RunInfo { framing: Framing::Silence(Some(Duration::from_millis(5))), ..info("framed") };
    let (mut recorder, recording) = RunRecorder::start(&db, run).unwrap();
    let start = Time::now();
    for (ms, kind, side, bytes) in [
        (0, TapKind::Out, 1, &b"ab"[..]),
        (1, TapKind::Out, 1, b"c"),
        (2, TapKind::Out, 0, b"xy"),
        (20, TapKind::Out, 1, b"de"),
        (21, TapKind::Gone, 1, b""),
        (22, TapKind::Out, 1, b"f"),
    ] {
        let at = start + Duration::from_millis(ms);
        recorder.record(&line, &TapRecord { at, ..tapped(kind, side, 0, bytes) }).unwrap();
        recorder.flush();
    }
    // Nothing follows: the last frame is there all the same, without an end of the run.
    wait(|| counts(&db).unwrap().frames == 4);
    drop(recorder);
    recording.finish("pass", "", &[]).unwrap();
    let mut frames: Vec<_> = show(&db, None, ALL).unwrap().frames;
    frames.sort_by_key(|f| f.at_ns);
    let frames: Vec<_> = frames.iter().map(|f| (f.bytes.as_str(), f.gap)).collect();
    assert_eq!(frames, [("616263", false), ("7879", false), ("6465", false), ("66", true)]);
}

#[test]
fn only_the_points_asked_for_are_kept() {
    let ((_dir, db), line) = (place(), link("line"));
    let (mut recorder, recording) = RunRecorder::start(&db, RunInfo::new("out", "x")).unwrap();
    for kind in [TapKind::In, TapKind::Out, TapKind::BreakIn, TapKind::BreakOut] {
        recorder.record(&line, &tapped(kind, 1, 0, b"a")).unwrap();
    }
    recorder.finish().unwrap();
    assert_eq!(recording.finish("pass", "", &[]).unwrap().frames, 1);
    let run = show(&db, None, ALL).unwrap();
    assert_eq!((run.frames[0].point.as_str(), run.events[0].detail.as_str()), ("out", "sent"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any sequence of records, cut into batches anywhere: bytes and counts come out as they went in.
    #[test]
    fn records_come_out_in_order(
        records in prop::collection::vec((0u8..2, 0u8..2, any::<bool>(), prop::collection::vec(any::<u8>(), 1..40)), 0..60)
    ) {
        let (_dir, db) = place();
        let (mut recorder, recording) = RunRecorder::start(&db, info("x")).unwrap();
        let links = ["one", "two"].map(link);
        let mut expected: [Vec<(String, String)>; 2] = Default::default();
        for (number, side, flush, bytes) in &records {
            recorder.record(&links[usize::from(*number)], &tapped(TapKind::In, *side, 0, bytes)).unwrap();
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            expected[usize::from(*number)].push((["a->b", "b->a"][usize::from(*side)].to_owned(), hex));
            if *flush {
                recorder.flush();
            }
        }
        drop(recorder);
        let recorded = recording.finish("pass", "", &[]).unwrap();
        let bytes: usize = records.iter().map(|r| r.3.len()).sum();
        prop_assert_eq!((recorded.frames, recorded.bytes), (records.len() as u64, bytes as u64));
        let run = show(&db, None, ALL).unwrap();
        for (name, expected) in ["one", "two"].iter().zip(expected) {
            let found: Vec<_> = run.frames.iter().filter(|f| f.link == *name)
                .map(|f| (f.direction.clone(), f.bytes.clone())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
