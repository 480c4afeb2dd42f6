//! "Did you mean": the known word nearest to an unknown one.

/// The nearest of `known`, if it is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = word.chars().count().div_ceil(3).max(1);
    known
        .into_iter()
        .map(|k| (distance(word, k), k))
        .filter(|(d, _)| *d <= far)
        .min()
        .map(|(_, k)| k)
}

/// A help line: the nearest of `known`, or all of them.
pub fn help<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match known.map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ") {
            all if all.is_empty() => "nothing can stand here; remove it".to_owned(),
            all => format!("known here: {all}"),
        },
    }
}

/// Levenshtein's distance, with a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best =
                    (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_stranger_is_not() {
        let known = ["memory", "name", "platforms"];
        assert_eq!(nearest("memroy", known), Some("memory"));
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("platform", known), Some("platforms"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(help("x", [].into_iter()), "nothing can stand here; remove it");
    }
}
