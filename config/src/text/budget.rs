//! `[sponsor]`: what a guest may use, within what its machine has.

use std::ops::Range;

use toml::Spanned;

use super::check::Check;
use super::diag::Problem;
use super::raw;
use super::units::show_size;
use super::walk::Scalar;
use crate::payload::Budget;
use crate::rules::{self, Limits};

/// On what the limits depend.
const WHEN: &str = "with this memory of the guest ";

impl Check<'_> {
    pub(super) fn budget(
        &mut self,
        raw: &raw::Sponsor,
        memory: u64,
        linear: u64,
        guest: &Range<usize>,
    ) -> Option<Budget> {
        let [mem, messages, sessions, fids] = rules::budget_limits(memory);
        let bytes = match &raw.memory {
            // And what its atoms' memories may grow to, which is charged too.
            None => Some(mem.default.saturating_add(linear).min(mem.max)),
            Some(value) => self
                .size("memory", value)
                .and_then(|n| self.within(("[sponsor] memory", WHEN), value, n, mem, show_size)),
        };
        let messages = self.count("messages", raw.messages.as_ref(), messages);
        let sessions = self.count("sessions", raw.sessions.as_ref(), sessions);
        let fids = self.count("fids", raw.fids.as_ref(), fids);
        let budget =
            Budget { memory: bytes?, messages: messages?, sessions: sessions?, fids: fids? };
        let tables = rules::budget_tables(&budget);
        if tables > memory / 2 {
            let big =
                [&raw.fids, &raw.sessions, &raw.messages].into_iter().find_map(Option::as_ref);
            self.problems.push(
                Problem::new(
                    big.map_or(guest.clone(), Spanned::span),
                    format!("{} messages, {} sessions of {} fids may need {} KiB", budget.messages,
                        budget.sessions, budget.fids, tables >> 10),
                )
                .label("too many")
                .help(format!(
                    "half of the guest's memory is {}: lower one of the three, or raise [guest] memory",
                    show_size(memory / 2)
                )),
            );
            return None;
        }
        Some(budget)
    }

    fn count(&mut self, key: &str, given: Option<&Spanned<Scalar>>, limits: Limits) -> Option<u32> {
        let Some(value) = given else {
            return u32::try_from(limits.default).ok();
        };
        match value.get_ref() {
            Scalar::Int(n) => {
                let n = u64::try_from(*n).unwrap_or(0);
                let what = format!("[sponsor] {key}");
                let n = self.within((&what, WHEN), value, n, limits, |n| n.to_string())?;
                u32::try_from(n).ok()
            }
            other => {
                let what = format!("`{key}` must be a whole number");
                self.problems.push(
                    Problem::new(value.span(), what)
                        .label(format!("this is {}", other.what()))
                        .help(format!("write {key} = {}", limits.default)),
                );
                None
            }
        }
    }
}
