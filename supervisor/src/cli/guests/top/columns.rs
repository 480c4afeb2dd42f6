//! Which columns there is room for, and how wide they are. A narrow terminal first loses the
//! curves' length, then the curves, then what is least asked for.

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    State,
    On,
    Cpu,
    CpuCurve,
    Memory,
    Dispatches,
    DispatchCurve,
    Uptime,
}

use Column::{Cpu, CpuCurve, DispatchCurve, Dispatches, Memory, Name, On, State, Uptime};

/// The order on the screen.
const ORDER: [Column; 9] =
    [Name, State, On, Cpu, CpuCurve, Memory, Dispatches, DispatchCurve, Uptime];
/// What goes where there is too little room, first to last.
const LEAST: [Column; 7] = [DispatchCurve, CpuCurve, On, Uptime, Dispatches, Memory, State];
/// The longest that a name gets.
const NAMES: u16 = 32;
/// The longest that a curve gets.
const CURVE: u16 = 20;

impl Column {
    /// Its head, and whether what is in it is set to the right.
    pub(super) fn head(self) -> (&'static str, bool) {
        match self {
            Name => ("NAME", false),
            State => ("STATE", false),
            On => ("ON", false),
            Cpu => ("CPU %", true),
            CpuCurve | DispatchCurve => ("", false),
            Memory => ("MEMORY", true),
            Dispatches => ("DISP/S", true),
            Uptime => ("UP", true),
        }
    }

    fn least(self) -> u16 {
        match self {
            Name => 10,
            State => 8,
            On => 9,
            Cpu => 6,
            CpuCurve | DispatchCurve => 6,
            Memory => 8,
            Dispatches => 7,
            Uptime => 7,
        }
    }

    /// Columns before it that are empty: a curve is close to its figure.
    fn gap(self) -> u16 {
        match self {
            Name => 0,
            CpuCurve | DispatchCurve => 1,
            _ => 2,
        }
    }
}

/// Columns from left to right: where each begins, and its width. `names` is the length of
/// the longest name.
pub(super) fn columns(width: u16, names: usize) -> Vec<(Column, u16, u16)> {
    let mut there: Vec<Column> = ORDER.to_vec();
    let sum = |there: &[Column]| there.iter().map(|c| c.gap() + c.least()).sum::<u16>();
    for least in LEAST {
        if sum(&there) > width {
            there.retain(|c| *c != least);
        }
    }
    let mut spare = width.saturating_sub(sum(&there));
    let names = u16::try_from(names).unwrap_or(NAMES).min(NAMES);
    let name = Name.least() + names.saturating_sub(Name.least()).min(spare);
    spare -= name - Name.least();
    let curves = there.iter().filter(|c| matches!(c, CpuCurve | DispatchCurve)).count() as u16;
    let curve = CURVE.min(CpuCurve.least() + spare / curves.max(1));
    let mut at = 0;
    let mut place = |c: Column| {
        let wide = match c {
            Name => name,
            CpuCurve | DispatchCurve => curve,
            c => c.least(),
        };
        let from = at + c.gap();
        at = from + wide;
        (c, from, wide)
    };
    there.into_iter().map(&mut place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_whatever_the_width() {
        for width in 10..300 {
            for names in [0, 5, 63] {
                let all = columns(width, names);
                let (_, at, wide) = *all.last().unwrap();
                assert!(at + wide <= width.max(18), "{width}: {all:?}");
                assert!(all.iter().any(|c| c.0 == Name) && all.iter().any(|c| c.0 == Cpu));
                assert!(all.windows(2).all(|w| w[0].1 + w[0].2 < w[1].1));
            }
        }
        let kinds = |width| columns(width, 9).iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(kinds(81), ORDER);
        assert!(!kinds(80).contains(&DispatchCurve) || kinds(80).len() == 9);
        assert_eq!(kinds(20), [Name, Cpu]);
        assert_eq!(columns(200, 63)[0], (Name, 0, NAMES));
    }
}
