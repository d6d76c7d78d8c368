//! Many containers of one contestant: `run` beside them, and `list`.

use super::{Bench, Contestant, Image, Kind, Outcome, SLEEP, TRUE, Unit};

/// Running containers beside which `run` is measured.
const CROWD: usize = 200;
/// Containers that `list` prints.
const LISTED: usize = 500;
/// How many containers are made at a time.
const LANES: usize = 2;

impl Bench {
    /// One contestant after another, in random order: all their crowds together would be another row.
    pub(super) fn crowd(&mut self) {
        let (crowd, listed) = (self.options.many(CROWD), self.options.many(LISTED));
        let rows = [format!("run B beside {crowd} containers"), format!("list of {listed}")];
        self.bar.row("many containers", self.contestants.len() * (listed + 2 * self.options.runs));
        for index in self.shuffled() {
            let title = |at: usize| rows[at].as_str();
            let steps = [
                self.people(index, 0..crowd).and_then(|()| self.beside(index, title(0), listed)),
                self.people(index, crowd..listed).and_then(|()| self.list(index, title(1))),
            ];
            let contestant = &self.contestants[index];
            contestant.clean_up(&self.host, listed + 1);
            for (at, step) in steps.into_iter().enumerate() {
                if let Err(fault) = step {
                    let failures = &mut self.table.row(title(at), Unit::Time).failures;
                    failures.insert(contestant.name.clone(), fault.to_string());
                }
            }
        }
    }

    /// Makes and starts containers with these numbers.
    fn people(&self, index: usize, numbers: std::ops::Range<usize>) -> Outcome {
        let (contestant, image, bar) = (&self.contestants[index], &self.image, &self.bar);
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES)
                .map(|lane| numbers.clone().skip(lane).step_by(LANES))
                .map(|mut lane| {
                    scope.spawn(move || {
                        lane.try_for_each(|n| bar.step().and_then(|()| person(contestant, image, n)))
                    })
                })
                .collect();
            let end = |lane: std::thread::ScopedJoinHandle<'_, Outcome>| {
                lane.join().unwrap_or_else(|_| wharf_spec_tests::outcome::fail("a thread panicked"))
            };
            lanes.into_iter().try_for_each(end)
        })
    }

    fn beside(&mut self, index: usize, title: &str, number: usize) -> Outcome {
        let contestant = &self.contestants[index];
        let bundle = contestant.bundle(&self.image, Kind::B, number, &TRUE)?;
        for round in 0..=self.options.runs {
            self.bar.step()?;
            std::thread::sleep(self.options.gap);
            let args = ["run", "--bundle", &bundle.to_string_lossy(), &contestant.id(number)];
            let cost = contestant.measure(&args)?;
            if round > 0 {
                self.table.add(title, &contestant.name, cost);
            }
        }
        Ok(())
    }

    fn list(&mut self, index: usize, title: &str) -> Outcome {
        let contestant = &self.contestants[index];
        for round in 0..=self.options.runs {
            self.bar.step()?;
            let cost = contestant.measure(&["list"])?;
            if round > 0 {
                self.table.add(title, &contestant.name, cost);
            }
        }
        Ok(())
    }
}

fn person(contestant: &Contestant, image: &Image, n: usize) -> Outcome {
    let bundle = contestant.bundle(image, Kind::A, n, &SLEEP)?;
    let id = contestant.id(n);
    contestant.call(&["create", "--bundle", &bundle.to_string_lossy(), &id])?;
    contestant.call(&["start", &id]).map(drop)
}
