//! Many runs at once.

use super::{Bench, Contestant, Cost, Duration, Image, Instant, Kind, Outcome, Stopwatch, TRUE, Unit};

/// Containers of the parallel rows.
const TOGETHER: usize = 50;

impl Bench {
    /// 50 runs, two at a time and all at once; the wall time is that of all of them together.
    pub(super) fn parallel(&mut self) {
        let count = self.options.many(TOGETHER);
        let runs = self.options.runs.div_ceil(5);
        for (way, lanes) in [("2 at a time", 2), ("all at once", count)] {
            let title = &format!("{count} x run B, {way}");
            self.rounds(title, Unit::Time, runs, self.options.gap, &mut |contestant, image, table| {
                table.add(title, &contestant.name, together(contestant, image, count, lanes)?);
                Ok(())
            });
        }
    }
}

/// `count` runs, at most `lanes` of them at a time.
fn together(contestant: &Contestant, image: &Image, count: usize, lanes: usize) -> Outcome<Cost> {
    let bundles = (0..count)
        .map(|n| {
            contestant.bundle(image, Kind::B, n, &TRUE).map(|bundle| bundle.to_string_lossy().into_owned())
        })
        .collect::<Outcome<Vec<_>>>()?;
    let begin = Instant::now();
    let costs = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| {
                let bundles = &bundles;
                scope.spawn(move || {
                    (lane..count)
                        .step_by(lanes)
                        .map(|n| {
                            let args = ["run", "--bundle", &bundles[n], &contestant.id(n)];
                            Stopwatch::read(
                                &contestant.prepare(&args).patience(Duration::from_secs(60)).call()?,
                            )
                        })
                        .collect::<Outcome<Vec<_>>>()
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| {
                lane.join().unwrap_or_else(|_| wharf_spec_tests::outcome::fail("a measuring thread panicked"))
            })
            .collect::<Outcome<Vec<_>>>()
    })?;
    let wall = begin.elapsed().as_secs_f64() * 1e6;
    let all = costs.iter().flatten();
    Ok(Cost {
        wall,
        cpu: all.clone().map(|cost| cost.cpu).sum(),
        rss: all.map(|cost| cost.rss).fold(0.0, f64::max),
    })
}
