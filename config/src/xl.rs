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
    /// One that has ended stays, for whoever wants to know how.
    pub keep: bool,
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
        // A guest that ends has ended: whoever has started it says what then. (A triple
        // fault counts as a reboot, and would be one for ever.)
        let then = if self.keep { "\"preserve\"" } else { "\"destroy\"" };
        for event in ["on_poweroff", "on_reboot", "on_crash"] {
            say(event, then);
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
        assert!(!text.contains("cmdline") && !text.contains("uuid") && !text.contains("preserve"));
        let told = Domain { cmdline: "say=\"x\"\n", keep: true, uuid: Some("u"), ..domain };
        let text = told.config();
        assert!(text.contains("cmdline = 'say=\"x\"'\n") && text.contains("uuid = \"u\"\n"));
        assert!(text.contains("on_poweroff = \"preserve\"\n") && !text.contains("destroy"));
    }
}
