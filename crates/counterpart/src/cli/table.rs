//! Columns of text, aligned with spaces: readable, and easy for `awk`.

/// A table with a heading. Columns whose heading starts with `>` are aligned to the right.
pub fn aligned(heading: &[&str], rows: &[Vec<String>]) -> String {
    let right: Vec<bool> = heading.iter().map(|cell| cell.starts_with('>')).collect();
    let heading: Vec<String> =
        heading.iter().map(|cell| cell.trim_start_matches('>').to_owned()).collect();
    let mut widths = vec![0; heading.len()];
    for row in std::iter::once(&heading).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let cells = row.iter().zip(&widths).zip(&right).map(|((cell, &width), &right)| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let rows =
            vec![vec!["a".to_owned(), "1".to_owned()], vec!["bbb".to_owned(), "22".to_owned()]];
        assert_eq!(aligned(&["name", ">n"], &rows), "name   n\na      1\nbbb   22\n");
        assert_eq!(aligned(&["x"], &[]), "x\n");
    }
}
