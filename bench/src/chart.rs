//! The chart for the README and docs/performance.md: CPU time of each operation, one bar per contestant.

use super::table::{Table, Unit};
use plotters::prelude::*;
use std::path::Path;

/// A number of bars is small.
#[allow(clippy::cast_precision_loss, reason = "there are some dozens of bars")]
fn place(count: usize) -> f64 {
    count as f64
}

/// Writes an SVG of the rows that are times.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(table: &Table, path: &Path) -> Result<(), String> {
    let rows: Vec<_> = table
        .rows
        .iter()
        .filter(|row| row.unit == Unit::Time && !row.title.contains("50 x") && !row.title.contains("500"))
        .collect();
    let most = rows.iter().flat_map(|row| table.names.iter().filter_map(|name| row.figure(name)));
    let most = most.fold(1.0, f64::max);
    let bars = table.names.len().max(1);
    let height = 60 + 22 * rows.len() * (bars + 1);
    let size = (900, u32::try_from(height).unwrap_or(2000));
    let root = SVGBackend::new(path, size).into_drawing_area();
    draw(table, &rows, most, &root).map_err(|error| error.to_string())
}

fn draw(
    table: &Table,
    rows: &[&super::table::Row],
    most: f64,
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let bars = table.names.len() + 1;
    let end = place(rows.len() * bars);
    let mut chart = ChartBuilder::on(root)
        .caption("CPU time, ms (median; shorter is better)", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(25)
        .y_label_area_size(10)
        .build_cartesian_2d(-most * 0.35..most * 1.12, end..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_label_formatter(&|x| if *x < 0.0 { String::new() } else { format!("{x:.0}") })
        .draw()?;
    let style = ("sans-serif", 13).into_font();
    for (at, row) in rows.iter().enumerate() {
        let top = place(at * bars);
        chart.draw_series([Text::new(row.title.clone(), (-most * 0.34, top + 0.2), style.clone())])?;
        for (number, name) in table.names.iter().enumerate() {
            let Some(figure) = row.figure(name) else { continue };
            let y = top + place(number);
            let colour = Palette99::pick(number).filled();
            chart.draw_series([Rectangle::new([(0.0, y + 0.1), (figure, y + 0.9)], colour)])?;
            let label = format!("{name} {figure:.2}");
            chart.draw_series([Text::new(label, (figure + most * 0.01, y + 0.2), style.clone())])?;
        }
    }
    root.present()?;
    Ok(())
}
