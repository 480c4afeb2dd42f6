//! A domain's configuration, as `xl` reads it: what our supervisor gives it, and what people
//! have who run an image without that.
//!
//! Keys: `xl.cfg(5)` of Xen 4.17.

use std::fmt::Write;

/// A domain to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Domain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its own number for ever, if that is not to be left to `xl`.
    pub uuid: Option<&'a str>,
    /// Where dom0 finds the image.
    pub kernel: &'a str,
    /// RAM, in bytes; domains have whole MiB.
    pub memory: u64,
    /// What the guest is told.
    pub cmdline: &'a str,
    /// What becomes of it when it has ended.
    pub then: Then,
}

/// What becomes of a domain that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// What people who use `xl` expect: it goes when it was shut down, is made anew when it was
    /// rebooted, and stays when it crashed, so that `xl list` and `xl console` show that. (A
    /// triple fault counts as a reboot.)
    #[default]
    Usual,
    /// It goes.
    Gone,
    /// It stays, for whoever wants to know how it has ended.
    Kept,
}

impl Then {
    /// What `xl` does about an end of its own, a reboot and a crash.
    fn words(self) -> [&'static str; 3] {
        match self {
            Then::Usual => ["destroy", "restart", "preserve"],
            Then::Gone => ["destroy"; 3],
            Then::Kept => ["preserve"; 3],
        }
    }
}

impl Domain<'_> {
    /// The configuration.
    pub fn config(&self) -> String {
        let mut text = String::new();
        let mut say = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {value}");
        };
        say("name", &quoted(self.name));
        if let Some(uuid) = self.uuid {
            say("uuid", &quoted(uuid));
        }
        // The image is a PVH kernel: Xen starts it without firmware, at its 32-bit entry.
        say("type", "\"pvh\"");
        say("kernel", &quoted(self.kernel));
        if !self.cmdline.is_empty() {
            say("cmdline", &quoted(self.cmdline));
        }
        say("memory", &self.memory.div_ceil(1 << 20).max(1).to_string());
        say("vcpus", "1");
        // The guest reads the processor's own counter, by what Xen says of it.
        say("tsc_mode", "\"native\"");
        for (event, then) in ["on_poweroff", "on_reboot", "on_crash"].iter().zip(self.then.words())
        {
            say(event, &quoted(then));
        }
        text
    }
}

/// A string as `xl` reads it: there is no way to write a quote inside its own kind, but
/// two kinds.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.contains('"') { format!("'{}'", text.replace('\'', "")) } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_as_xl_reads_it() {
        let domain = Domain {
            name: "hello",
            kernel: "/a b/h.img",
            memory: (32 << 20) + 1,
            ..Domain::default()
        };
        let text = domain.config();
        for line in ["name = \"hello\"", "type = \"pvh\"", "kernel = \"/a b/h.img\"", "memory = 33"]
        {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("cmdline") && !text.contains("uuid"));
        for line in
            ["on_poweroff = \"destroy\"", "on_reboot = \"restart\"", "on_crash = \"preserve\""]
        {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        let gone = Domain { then: Then::Gone, ..domain }.config();
        assert!(!gone.contains("restart") && !gone.contains("preserve"));
        let told = Domain { cmdline: "say=\"x\"\n", then: Then::Kept, uuid: Some("u"), ..domain };
        let text = told.config();
        assert!(text.contains("cmdline = 'say=\"x\"'\n") && text.contains("uuid = \"u\"\n"));
        assert!(text.contains("on_poweroff = \"preserve\"\n") && !text.contains("destroy"));
    }
}
