//! What a guest says: the lines of its log.

use alloc::string::String;

use crate::component::ComponentId;
use crate::core::Core;

impl Core<'_> {
    /// Adds a line to the log, behind the time and who says it.
    pub fn say(&mut self, who: &str, line: &str) {
        let (s, us) = (self.now.0 / 1_000_000_000, self.now.0 / 1000 % 1_000_000);
        let said = alloc::format!("{s}.{us:06} {who}: {line}");
        // Nobody speaks for somebody else by a line end.
        let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.log.push(line.as_str());
        self.stirred = true;
        self.fresh_log.push(line);
    }

    /// Adds a line of the machine's to the log.
    pub(crate) fn overhear(&mut self, line: &str) {
        self.log.push(line);
        self.stirred = true;
    }

    /// The same, in the name of a component.
    pub(crate) fn say_as(&mut self, who: ComponentId, line: &str) {
        let Some(slot) = self.slots.get_mut(who) else { return };
        #[cfg(feature = "atoms")]
        if let Some(own) = &mut slot.own {
            own.log.push(line);
        }
        let name = slot.name.clone();
        self.say(&name, line);
    }
}
