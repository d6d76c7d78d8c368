//! Results between two markers in a text, such as the tables of docs/performance.md: the program that found them writes
//! them there.

/// The marker lines around the block called `name`.
pub fn markers(name: &str) -> [String; 2] {
    [format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->")]
}

/// The block with that name.
///
/// # Errors
///
/// Names the missing marker.
pub fn read<'t>(text: &'t str, name: &str) -> Result<&'t str, String> {
    let (start, end) = span(text, name)?;
    Ok(&text[start..end])
}

/// The text with that block replaced.
///
/// # Errors
///
/// As [`read`].
pub fn replace(text: &str, name: &str, block: &str) -> Result<String, String> {
    let (start, end) = span(text, name)?;
    Ok(format!("{}\n\n{}\n\n{}", &text[..start], block.trim(), &text[end..]))
}

/// Puts a block into a file.
///
/// # Errors
///
/// As [`read`], or if the file cannot be read or written.
pub fn write(path: &std::path::Path, name: &str, block: &str) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let text = replace(&text, name, block).map_err(|error| wrong(&error))?;
    std::fs::write(path, text).map_err(|error| wrong(&error))
}

fn span(text: &str, name: &str) -> Result<(usize, usize), String> {
    let [begin, end] = markers(name);
    let start = text.find(&begin).map(|at| at + begin.len()).ok_or_else(|| format!("no {begin}"))?;
    let length = text[start..].find(&end).ok_or_else(|| format!("no {end} after {begin}"))?;
    Ok((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_between_its_own_markers() {
        let text =
            "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\nkept\n<!-- y: end -->\n";
        let new = replace(text, "x", "new\n").expect("the markers are there");
        assert_eq!(read(&new, "x"), Ok("\n\nnew\n\n"));
        assert_eq!(read(&new, "y"), Ok("\nkept\n"));
        assert!(new.starts_with("a\n") && !new.contains("old"));
        assert_eq!(replace(text, "z", ""), Err("no <!-- z: begin -->".into()));
        assert!(replace("<!-- x: begin -->", "x", "").is_err());
    }
}
