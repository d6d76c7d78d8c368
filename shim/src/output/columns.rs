//! A table of text in columns, as Go's tabwriter prints it for runc.

/// Columns are at least this wide, padding included.
const MIN_WIDTH: usize = 12;
/// Blanks between a column's widest cell and the next column.
const PADDING: usize = 3;

/// Lays out rows of cells; the last column is not padded.
pub(crate) fn lay_out<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (widest + PADDING).max(MIN_WIDTH)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_cells_fill_twelve_characters_and_long_ones_push() {
        let rows = [["ID", "PID", "OWNER"], ["a-very-long-container", "12", "root"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(
            lay_out(&rows),
            "ID                      PID         OWNER\na-very-long-container   12          root\n"
        );
    }
}
