//! The results, and the table made from them.

use super::stopwatch::Cost;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of calls: wall and CPU time.
    Time,
    /// Kibibytes.
    Kibibytes,
    /// A count.
    Count,
}

/// One row: an operation, and what each contestant needed for it.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was done.
    pub title: String,
    /// What the samples are.
    pub unit: Unit,
    /// The samples of each contestant; a plain number is a `Cost` with that wall time.
    pub samples: BTreeMap<String, Vec<Cost>>,
    /// Why a contestant has none.
    pub failures: BTreeMap<String, String>,
}

/// All rows, in the order of measuring.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The contestants in the order of the command line; ratios are to the first.
    pub names: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What else a reader must know.
    pub notes: Vec<String>,
}

/// The middle of the numbers.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        n if n % 2 == 1 => Some(numbers[middle]),
        _ => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}

/// The smallest of the numbers.
pub fn least(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    numbers.into_iter().min_by(f64::total_cmp)
}

impl Row {
    /// The figure of a contestant: median CPU time in milliseconds, or the median.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let samples = self.samples.get(name)?;
        match self.unit {
            Unit::Time => median(samples.iter().map(|cost| cost.cpu / 1000.0)),
            Unit::Kibibytes | Unit::Count => median(samples.iter().map(|cost| cost.wall)),
        }
    }

    fn cell(&self, name: &str) -> String {
        let Some(samples) = self.samples.get(name).filter(|samples| !samples.is_empty()) else {
            return "-".into();
        };
        let wall = || samples.iter().map(|cost| cost.wall);
        let (Some(middle), Some(least)) = (median(wall()), least(wall())) else { return "-".into() };
        match self.unit {
            Unit::Time => {
                let cpu = median(samples.iter().map(|cost| cost.cpu)).unwrap_or_default();
                format!("{} / {} / {}", ms(middle), ms(least), ms(cpu))
            }
            Unit::Kibibytes | Unit::Count => format!("{middle:.0}"),
        }
    }
}

impl Table {
    /// The row with that title, made on first use.
    pub fn row(&mut self, title: &str, unit: Unit) -> &mut Row {
        let at = self.rows.iter().position(|row| row.title == title).unwrap_or_else(|| {
            let (samples, failures) = (BTreeMap::new(), BTreeMap::new());
            self.rows.push(Row { title: title.to_owned(), unit, samples, failures });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// One more sample.
    pub fn add(&mut self, title: &str, name: &str, cost: Cost) {
        self.row(title, Unit::Time).samples.entry(name.to_owned()).or_default().push(cost);
    }

    /// One more plain number.
    pub fn count(&mut self, title: &str, unit: Unit, name: &str, number: f64) {
        let cost = Cost { wall: number, ..Cost::default() };
        self.row(title, unit).samples.entry(name.to_owned()).or_default().push(cost);
    }

    /// The table in Markdown: the figures, then each contestant as a multiple of the first.
    pub fn markdown(&self) -> String {
        let mut text =
            String::from("wall median / wall minimum / CPU median, ms, unless the row says otherwise\n\n");
        let line = |cells: &mut dyn Iterator<Item = String>| {
            cells.fold(String::from("|"), |line, cell| line + " " + &cell + " |") + "\n"
        };
        text += &line(&mut ["operation".to_owned()].into_iter().chain(self.names.iter().cloned()));
        text +=
            &line(&mut std::iter::once("---".to_owned()).chain(self.names.iter().map(|_| "---:".to_owned())));
        for row in &self.rows {
            let cells = self.names.iter().map(|name| row.cell(name));
            text += &line(&mut std::iter::once(row.title.clone()).chain(cells));
        }
        let Some((first, others)) = self.names.split_first() else { return text };
        if !others.is_empty() {
            let _ = write!(
                text,
                "\n{first} against the others (CPU median, or the number; below 1 is better)\n\n"
            );
            text += &line(&mut std::iter::once("operation".to_owned()).chain(others.iter().cloned()));
            text +=
                &line(&mut std::iter::once("---".to_owned()).chain(others.iter().map(|_| "---:".to_owned())));
            for row in &self.rows {
                let own = row.figure(first);
                let cells = others.iter().map(|name| match (own, row.figure(name)) {
                    (Some(own), Some(other)) if other > 0.0 => format!("{:.2}", own / other),
                    _ => "-".into(),
                });
                text += &line(&mut std::iter::once(row.title.clone()).chain(cells));
            }
        }
        for row in &self.rows {
            for (name, reason) in &row.failures {
                let _ = writeln!(text, "\n{}: {name} has no figure: {reason}", row.title);
            }
        }
        text
    }

    /// The rows in which another contestant is better than the first, each with the contestant and the figure.
    pub fn behind(&self, ignore: &[&str]) -> Vec<String> {
        let Some((first, others)) = self.names.split_first() else { return Vec::new() };
        let others = others.iter().filter(|name| !ignore.contains(&name.as_str()));
        let mut found = Vec::new();
        for (name, row) in others.flat_map(|name| self.rows.iter().map(move |row| (name, row))) {
            let kinds: &[(&str, Part)] = match row.unit {
                Unit::Time => &[("wall", |cost| cost.wall), ("CPU", |cost| cost.cpu)],
                Unit::Kibibytes | Unit::Count => &[("", |cost| cost.wall)],
            };
            for (kind, get) in kinds {
                let of = |name: &str| median(row.samples.get(name).into_iter().flatten().map(get));
                if let (Some(own), Some(other)) = (of(first), of(name))
                    && other < own
                {
                    let show =
                        |number| if row.unit == Unit::Time { ms(number) } else { format!("{number:.0}") };
                    let kind = if kind.is_empty() { String::new() } else { format!(", {kind}") };
                    found.push(format!(
                        "{}{kind} ({name} {}, {first} {})",
                        row.title,
                        show(other),
                        show(own)
                    ));
                }
            }
        }
        found
    }

    /// All samples as JSON.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let samples: BTreeMap<_, Vec<_>> = row
                    .samples
                    .iter()
                    .map(|(name, samples)| {
                        let one = |cost: &Cost| match row.unit {
                            Unit::Time => {
                                json!({"wall_us": cost.wall, "cpu_us": cost.cpu, "rss_kib": cost.rss})
                            }
                            Unit::Kibibytes | Unit::Count => json!(cost.wall),
                        };
                        (name, samples.iter().map(one).collect())
                    })
                    .collect();
                json!({"title": row.title, "samples": samples, "failures": row.failures})
            })
            .collect();
        json!({"names": self.names, "rows": rows})
    }
}

/// One figure of a sample.
type Part = fn(&Cost) -> f64;

/// Microseconds as milliseconds with three digits.
pub(super) fn ms(us: f64) -> String {
    let ms = us / 1000.0;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
        let mut table = Table { names: vec!["a".into(), "b".into()], ..Table::default() };
        for (name, cpu) in [("a", 1000.0), ("b", 4000.0), ("b", 4000.0)] {
            table.add("run", name, Cost { wall: cpu * 2.0, cpu, rss: 0.0 });
        }
        table.row("run", Unit::Time).failures.insert("c".into(), "hangs".into());
        let text = table.markdown();
        assert!(text.contains("| run | 2.00 / 2.00 / 1.00 | 8.00 / 8.00 / 4.00 |"), "{text}");
        assert!(text.contains("| run | 0.25 |"), "{text}");
        assert!(text.contains("run: c has no figure: hangs"), "{text}");
        assert_eq!(table.behind(&[]), Vec::<String>::new());
        table.count("memory", Unit::Kibibytes, "a", 300.0);
        table.count("memory", Unit::Kibibytes, "b", 200.0);
        assert_eq!(table.behind(&[]), ["memory (b 200, a 300)"]);
        assert_eq!(table.behind(&["b"]), Vec::<String>::new());
    }
}
