//! Tables: columns as wide as what is in them, numbers to the right.

/// Columns with their heads; one whose head begins with `>` is set to the right.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let right = |i: usize| heads.get(i).is_some_and(|h| h.starts_with('>'));
    let name = |h: &&str| h.trim_start_matches('>').to_owned();
    let head: Vec<String> = heads.iter().map(name).collect();
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            line += &if right(i) { pad + cell } else { cell.clone() + &pad };
            line += "  ";
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [
            vec!["web".into(), "7".into(), String::new()],
            vec!["db-é".into(), "12".into(), "x".into()],
        ];
        assert_eq!(
            table(&["NAME", ">RUN", "WHY"], &rows),
            "NAME  RUN  WHY\nweb     7\ndb-é   12  x\n"
        );
    }
}
