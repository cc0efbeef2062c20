//! Nothing is allocated while a link is driven, whatever its rules do.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hilrig_port::{Conduit, Direction, LineSettings, Out, Signal, Time};
use hilrig_tests::{Counting, allocator_calls};
use hilrig_wire::{CoreSpec, Echo, FaultRule, LinkCore, WireSpec};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Drives both directions with frames and stalls; answers how many bytes came out.
fn drive(core: &mut LinkCore, start: Time, steps: u64) -> u64 {
    let mut out = 0;
    for step in 0..steps {
        let now = start + Duration::from_micros(step * 700);
        for direction in [Direction::AToB, Direction::BToA] {
            // They take turns, and now and then all talk.
            let talks = step % 60 / 3 == 10 * direction.index() as u64 || step % 5_000 > 4_800;
            let room = if talks { core.room(direction).min((step % 37) as usize) } else { 0 };
            core.push(now, direction, &[step as u8; 64][..room]);
            if step % 500 == 7 {
                core.signal(now, direction, Signal::Break(step % 1000 == 7));
            }
        }
        core.on_deadline(now);
        // Every now and then nobody takes anything.
        for direction in [Direction::AToB, Direction::BToA] {
            if step % 100 >= 80 {
                continue;
            }
            loop {
                let n = match core.next(now, direction) {
                    None => break,
                    Some(Out::Bytes(bytes)) => bytes.len(),
                    Some(Out::Signal(_)) => 0,
                };
                out += n as u64;
                core.advance(now, direction, n);
            }
        }
        let _ = core.deadline();
        if step % 3 == 0 {
            let _ = core.note();
        }
    }
    out
}

#[test]
fn none_while_driven() {
    let page = include_str!("../RULES.md");
    let json = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let rules: Vec<FaultRule> = json
        .map(|text| serde_json::from_str(text).unwrap())
        .map(|mut rule: FaultRule| {
            (rule.direction, rule.when.count) = (hilrig_wire::Way::Both, None);
            // The one that takes all would leave nothing to the others.
            if rule.effect == hilrig_wire::Effect::Drop {
                rule.when.every = Some(3);
            }
            rule
        })
        .collect();
    let end =
        Some(LineSettings { baud: 115_200, format: Default::default(), flow: hilrig_port::Flow::RtsCts });
    let noisy = WireSpec { noise: 1e-4, echo: Echo::Both, half_duplex: true, ..WireSpec::default() };
    for wire in [None, Some(WireSpec::default()), Some(noisy)] {
        let spec = CoreSpec { wire, faults: rules.clone(), settings: [end; 2], ..CoreSpec::default() };
        let mut core = LinkCore::new(spec).unwrap();
        let mut more = Some(LinkCore::prepare(&rules[2]).unwrap());
        let before = allocator_calls();
        let out = drive(&mut core, Time(5), 20_000);
        let armed = core.arm(Time(0), more.take().unwrap()).unwrap();
        core.clear("slow");
        let out = out + drive(&mut core, Time(15_000_000_000), 20_000);
        assert_eq!(allocator_calls() - before, 0);
        assert!(out > 10_000, "{out}");
        drop(armed);
        let fired = core.report().iter().filter(|r| !r.never_fired()).count();
        assert!(fired > 8, "{fired}");
    }
}
