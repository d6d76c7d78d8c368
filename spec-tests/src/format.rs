//! How verdicts are printed: lines, JSON, `JUnit`, and the matrix that compares runtimes.

use crate::outcome::{Fault, Outcome};
use crate::runner::{Totals, Verdict};
use serde_json::{Value, json};
use std::fmt::Write;

/// One line for a verdict.
pub fn line(verdict: &Verdict) -> String {
    match &verdict.outcome {
        Ok(()) => format!("ok    {}", verdict.name),
        Err(Fault::Failed(reason)) => format!("FAIL  {}: {reason}", verdict.name),
        Err(Fault::Skipped(reason)) => format!("skip  {}: {reason}", verdict.name),
    }
}

/// The closing line.
pub fn closing(totals: Totals) -> String {
    format!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped)
}

/// All verdicts as one JSON object.
pub fn json(runtime: &str, verdicts: &[Verdict]) -> Value {
    let totals = Totals::of(verdicts);
    let tests: Vec<Value> = verdicts
        .iter()
        .map(|verdict| {
            let (rows, sentence) = split(&verdict.name);
            let (result, reason) = words(&verdict.outcome);
            json!({"rows": rows, "sentence": sentence, "result": result, "reason": reason,
                   "seconds": verdict.took.as_secs_f64()})
        })
        .collect();
    json!({"runtime": runtime, "passed": totals.passed, "failed": totals.failed, "skipped": totals.skipped,
           "tests": tests})
}

/// All verdicts in the `JUnit` XML that CI systems read.
pub fn junit(runtime: &str, verdicts: &[Verdict]) -> String {
    let totals = Totals::of(verdicts);
    let time: f64 = verdicts.iter().map(|verdict| verdict.took.as_secs_f64()).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _infallible = writeln!(
        out,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{time:.3}\">",
        escape(runtime),
        verdicts.len(),
        totals.failed,
        totals.skipped
    );
    for verdict in verdicts {
        let body = match &verdict.outcome {
            Ok(()) => String::new(),
            Err(Fault::Failed(reason)) => format!("<failure message=\"{}\"/>", escape(reason)),
            Err(Fault::Skipped(reason)) => format!("<skipped message=\"{}\"/>", escape(reason)),
        };
        let _infallible = writeln!(
            out,
            "  <testcase classname=\"oci\" name=\"{}\" time=\"{:.3}\">{body}</testcase>",
            escape(&verdict.name),
            verdict.took.as_secs_f64()
        );
    }
    out.push_str("</testsuite>");
    out
}

/// A markdown table: one row per test, one column per runtime, totals at the end.
pub fn matrix(columns: &[(String, Vec<Verdict>)]) -> String {
    let mut out = String::from("| test |");
    for (name, _) in columns {
        let _infallible = write!(out, " {name} |");
    }
    out.push_str("\n|---|");
    out.push_str(&":-:|".repeat(columns.len()));
    let rows = columns.first().map_or(0, |(_, verdicts)| verdicts.len());
    for row in 0..rows {
        let _infallible = write!(out, "\n| {} |", columns[0].1[row].name.replace('|', "\\|"));
        for (_, verdicts) in columns {
            let cell = match verdicts.get(row).map(|verdict| &verdict.outcome) {
                Some(Ok(())) => "yes",
                Some(Err(Fault::Failed(_))) => "**no**",
                Some(Err(Fault::Skipped(_))) | None => "-",
            };
            let _infallible = write!(out, " {cell} |");
        }
    }
    for (label, count) in [
        ("passed", (|totals| totals.passed) as fn(Totals) -> usize),
        ("failed", |totals| totals.failed),
        ("skipped", |totals| totals.skipped),
    ] {
        let _infallible = write!(out, "\n| **{label}** |");
        for (_, verdicts) in columns {
            let _infallible = write!(out, " {} |", count(Totals::of(verdicts)));
        }
    }
    out
}

/// Splits a name into its rows and its sentence.
fn split(name: &str) -> (String, String) {
    let is_row = |word: &&str| word.len() > 1 && word[1..].starts_with(|c: char| c.is_ascii_digit());
    let rows: Vec<&str> = name.split(' ').take_while(is_row).collect();
    let sentence: Vec<&str> = name.split(' ').skip(rows.len()).collect();
    (rows.join(" "), sentence.join(" "))
}

fn words(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Ok(()) => ("passed", ""),
        Err(Fault::Failed(reason)) => ("failed", reason),
        Err(Fault::Skipped(reason)) => ("skipped", reason),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write these.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn verdicts() -> Vec<Verdict> {
        let verdict =
            |name: &str, outcome| Verdict { name: name.into(), outcome, took: Duration::from_millis(1500) };
        vec![
            verdict("A1 A2 config.json is read", Ok(())),
            verdict("S3 a <b> is \"quoted\"", Err(Fault::Failed("x & y\u{1}".into()))),
            verdict("A9 needs more", Err(Fault::Skipped("needs root".into()))),
        ]
    }

    #[test]
    fn closing_line_counts_each_kind() {
        assert_eq!(closing(Totals::of(&verdicts())), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn json_separates_rows_from_the_sentence() {
        let value = json("runc", &verdicts());
        assert_eq!(value["tests"][0]["rows"], "A1 A2");
        assert_eq!(value["tests"][0]["sentence"], "config.json is read");
        assert_eq!(value["tests"][1]["result"], "failed");
    }

    #[test]
    fn junit_escapes_what_xml_reserves() {
        let text = junit("a\"b", &verdicts());
        assert!(
            text.contains("name=\"a&quot;b\" tests=\"3\" failures=\"1\" skipped=\"1\" time=\"4.500\""),
            "{text}"
        );
        assert!(text.contains("S3 a &lt;b&gt; is &quot;quoted&quot;"), "{text}");
        assert!(text.contains("x &amp; y "), "{text}");
    }

    #[test]
    fn matrix_has_a_column_for_each_runtime() {
        let text = matrix(&[("one".into(), verdicts()), ("two".into(), verdicts())]);
        assert!(
            text.starts_with(
                "| test | one | two |\n|---|:-:|:-:|\n| A1 A2 config.json is read | yes | yes |"
            ),
            "{text}"
        );
        assert!(text.ends_with("| **skipped** | 1 | 1 |"), "{text}");
    }
}
