//! How verdicts are printed: lines, JSON, `JUnit`.

use crate::matrix::Column;
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

/// All verdicts in the `JUnit` XML that CI systems read, one suite per runtime.
pub fn junit(columns: &[Column]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for column in columns {
        let totals = Totals::of(&column.verdicts);
        let time: f64 = column.verdicts.iter().map(|verdict| verdict.took.as_secs_f64()).sum();
        let _infallible = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{time:.3}\">",
            escape(&column.name),
            column.verdicts.len(),
            totals.failed,
            totals.skipped
        );
        for verdict in &column.verdicts {
            let body = match &verdict.outcome {
                Ok(()) => String::new(),
                Err(Fault::Failed(reason)) => {
                    // Some readers show the attribute, others the text.
                    let reason = escape(reason);
                    format!("<failure message=\"{reason}\" type=\"failed\">{reason}</failure>")
                }
                Err(Fault::Skipped(reason)) => format!("<skipped message=\"{}\"/>", escape(reason)),
            };
            let (rows, _) = split(&verdict.name);
            let _infallible = writeln!(
                out,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{body}</testcase>",
                rows.replace(' ', "."),
                escape(&verdict.name),
                verdict.took.as_secs_f64()
            );
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>");
    out
}

/// Splits a name into its rows and its sentence.
fn split(name: &str) -> (String, String) {
    let is_row = |word: &&str| {
        word.strip_prefix(|c: char| c.is_ascii_uppercase())
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
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
            // XML 1.0 cannot express these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
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
        let column = Column { name: "a\"b".into(), version: String::new(), verdicts: verdicts() };
        let text = junit(&[column]);
        assert!(
            text.contains(
                "name=\"a&quot;b\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"4.500\""
            ),
            "{text}"
        );
        assert!(text.contains("S3 a &lt;b&gt; is &quot;quoted&quot;"), "{text}");
        assert!(
            text.contains("<failure message=\"x &amp; y \" type=\"failed\">x &amp; y </failure>"),
            "{text}"
        );
    }
}
