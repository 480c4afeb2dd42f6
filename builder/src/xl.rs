//! A plain configuration for `xl`, for people who run an image without our supervisor.
//!
//! Keys: `xl.cfg(5)` of Xen 4.17.

use std::fmt::Write;

/// A domain to be.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where dom0 finds the image.
    pub kernel: &'a str,
    /// RAM, in MiB.
    pub memory: u32,
    /// What the guest is told.
    pub cmdline: &'a str,
}

impl Domain<'_> {
    /// The configuration.
    pub fn config(&self) -> String {
        let mut text = String::new();
        let mut say = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {value}");
        };
        say("name", &quoted(self.name));
        // The image is a PVH kernel: Xen starts it without firmware, at its 32-bit entry.
        say("type", "\"pvh\"");
        say("kernel", &quoted(self.kernel));
        if !self.cmdline.is_empty() {
            say("cmdline", &quoted(self.cmdline));
        }
        say("memory", &self.memory.to_string());
        say("vcpus", "1");
        // The guest reads the processor's own counter, by Xen's clock.
        say("tsc_mode", "\"native\"");
        // A guest that ends has ended: its supervisor, or its person, says what then.
        for event in ["on_poweroff", "on_reboot", "on_crash"] {
            say(event, "\"destroy\"");
        }
        text
    }
}

/// A string as `xl` reads it. (It knows no way to write a `"` inside of `"`, but two
/// kinds of quotes.)
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.contains('"') { format!("'{}'", text.replace('\'', "")) } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_as_xl_reads_it() {
        let domain = Domain { name: "hello", kernel: "/a b/h.img", memory: 32, cmdline: "" };
        let text = domain.config();
        assert!(text.contains("name = \"hello\"\n") && text.contains("type = \"pvh\"\n"));
        assert!(text.contains("kernel = \"/a b/h.img\"\n") && !text.contains("cmdline"));
        let told = Domain { cmdline: "say=\"x\"\n", ..domain };
        assert!(told.config().contains("cmdline = 'say=\"x\"'\n"));
    }
}
