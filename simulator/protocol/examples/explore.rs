use protocol::{observer::Property::*, rules::*, search::*, state::*};
fn main() {
    let a: Vec<u8> = std::env::args().nth(1).unwrap().bytes().map(|b| b - b'0').collect();
    let mut rules = match std::env::args().nth(2).as_deref() {
        Some("today") => Rules::today(),
        _ => Rules::mended(),
    };
    let depth = std::env::args().nth(3).and_then(|d| d.parse().ok()).unwrap_or(usize::MAX);
    if let Some(off) = std::env::args().nth(4) {
        for s in Switch::MENDED {
            if format!("{s:?}") == off {
                rules = rules.without(s)
            }
        }
    }
    let bounds = Bounds {
        losses: a[0],
        pauses: a[1],
        late: a[2],
        crashes: a[3],
        dropped_marks: a[4],
        joins: a[5],
        lag: a[6],
        missed: a[7],
    };
    let wanted = match std::env::args().nth(5).as_deref() {
        Some("given") => Some(PositionGivenTwice),
        Some("ended") => Some(EndedPlaceReturns),
        Some("lost") => Some(PositionLost),
        Some("overtaken") => Some(Overtaken),
        Some("early") => Some(CompleteTooEarly),
        Some("epochs") => Some(TwoEpochs),
        Some("older") => Some(OlderWordWins),
        _ => None,
    };
    let begun = std::time::Instant::now();
    let found = search(
        rules,
        &[if a.get(8) == Some(&1) { State::new(bounds) } else { State::opened(bounds) }],
        wanted,
        Limits { depth, states: 300_000_000 },
    );
    println!(
        "states {} depth {} exhaustive {} in {:?}; state size {}",
        found.states,
        found.depth,
        found.is_exhaustive,
        begun.elapsed(),
        size_of::<State>()
    );
    if let Some(c) = found.counterexample {
        println!("{:?}", c.property);
        for (a, s) in &c.steps {
            println!("- {a:?}");
            let w = |w: Option<Word>| {
                w.map_or("-".into(), |w| {
                    format!("{}.{} {:?} {}", w.at.epoch, w.at.version, w.standing.place, w.standing.position)
                })
            };
            if let Some(r) = s.room {
                println!(
                    "    room {}.{} seq {} process {}/{} {:?} people {:?} words {:?}",
                    r.at.epoch,
                    r.at.version,
                    r.seq,
                    r.process,
                    s.process,
                    r.rebuilding,
                    r.people.map(|p| p.map_or("-".into(), |p| format!("{:?} {}", p.place, p.position))),
                    r.words.map(|k| w(k.map(|k| k.word)))
                );
            }
            println!(
                "    rows {}.{} {:?}   gateways {:?}",
                s.record.at.epoch,
                s.record.at.version,
                s.record.people.map(|r| w(r.map(|r| r.word))),
                s.gateways.map(|g| (g.seen.epoch, g.words.map(w)))
            );
        }
        let e = c.steps.last().unwrap().1;
        println!("end {:?}\n{:?}\n{:?}", e.visitors, e.gateways, e.late);
    }
}
