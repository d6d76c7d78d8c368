//! The figures of all contestants, and the table made from them.

use std::fmt::Write as _;

use wharf_bench::table::{least, median};

/// How a figure is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Median and minimum, in milliseconds.
    Time,
    /// Median, in milliseconds.
    Work,
    /// Median, kB.
    Memory,
    /// Median, with one decimal.
    Number,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: String,
    pub(crate) unit: Unit,
    /// Of each contestant.
    pub(crate) samples: Vec<Vec<f64>>,
}

/// All rows, in the order of measuring.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

impl Figures {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, rows: Vec::new() }
    }

    /// One more sample of a contestant.
    pub(crate) fn add(&mut self, title: &str, unit: Unit, contestant: usize, value: f64) {
        let at = self.rows.iter().position(|row| row.title == title).unwrap_or_else(|| {
            let samples = self.names.iter().map(|_| Vec::new()).collect();
            self.rows.push(Row { title: title.to_owned(), unit, samples });
            self.rows.len() - 1
        });
        self.rows[at].samples[contestant].push(value);
    }

    /// The table; ratios are to the first contestant.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            format!("| | {} |\n|---|{}\n", self.names.join(" | "), "--:|".repeat(self.names.len()));
        for row in &self.rows {
            let first = row.samples.first().and_then(|samples| median(samples.iter().copied()));
            let _infallible = write!(text, "| {} |", row.title);
            for (contestant, samples) in row.samples.iter().enumerate() {
                let _infallible = write!(text, " {} |", row.cell(samples, first.filter(|_| contestant > 0)));
            }
            text.push('\n');
        }
        text
    }
}

impl Row {
    fn cell(&self, samples: &[f64], first: Option<f64>) -> String {
        let (Some(middle), Some(least)) = (median(samples.iter().copied()), least(samples.iter().copied()))
        else {
            return "-".into();
        };
        let value = match self.unit {
            Unit::Time => format!("{middle:.1} / {least:.1} ms"),
            Unit::Work => format!("{middle:.1} ms"),
            Unit::Memory => format!("{middle:.0} kB"),
            Unit::Number => format!("{middle:.1}"),
        };
        match first {
            Some(first) if first > 0.0 && middle > 0.0 => format!("{value} ({:.1}x)", middle / first),
            _ => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first() {
        let mut figures = Figures::new(vec!["a".into(), "b".into()]);
        for (contestant, values) in [(0, [4.0, 2.0, 3.0]), (1, [30.0, 9.0, 9.0])] {
            for value in values {
                figures.add("life", Unit::Time, contestant, value);
            }
        }
        figures.add("mounts", Unit::Number, 1, 2.0);
        let table = "| | a | b |\n|---|--:|--:|\n| life | 3.0 / 2.0 ms | 9.0 / 9.0 ms (3.0x) |\n| mounts | - | 2.0 |\n";
        assert_eq!(figures.markdown(), table);
    }
}
