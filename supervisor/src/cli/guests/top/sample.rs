//! What the supervisor says about all of its guests at one time: `/stats`, `/host/cpu` and
//! `/host/memory`, read.

use super::super::list::Line;

/// What is known of a guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Its name.
    pub(super) name: String,
    /// Where it is in its life, as `status` has it.
    pub(super) state: String,
    /// Which of its starts.
    pub(super) run: u64,
    /// Where it runs; empty when it does not.
    pub(super) backend: String,
    /// What its image calls itself.
    pub(super) program: String,
    /// When its run began, or ended, milliseconds since 1970 UTC.
    pub(super) since: Option<u64>,
    /// The machine's process.
    pub(super) pid: Option<u64>,
    /// Time for which it had a processor, in microseconds.
    pub(super) cpu: Option<u64>,
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// Starts that nobody asked for.
    pub(super) restarts: u64,
    /// How its last run ended, for people.
    pub(super) why: String,
}

/// What is known of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Host {
    /// Processors.
    pub(super) processors: u64,
    /// For how long they all together worked, and did not, in microseconds.
    pub(super) busy: u64,
    /// The second of these.
    pub(super) idle: u64,
    /// Bytes of memory that there are.
    pub(super) total: u64,
    /// Bytes of it that are free to be used.
    pub(super) available: u64,
}

/// Everything, at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// When, in milliseconds of any clock that does not stand still.
    pub(super) at: u64,
    /// When, milliseconds since 1970 UTC.
    pub(super) wall: u64,
    /// The machine.
    pub(super) host: Host,
    /// The guests.
    pub(super) guests: Vec<Figures>,
}

impl Sample {
    /// Reads the files' texts. What is not there is taken for nothing.
    pub(super) fn read(at: u64, wall: u64, stats: &str, cpu: &str, memory: &str) -> Sample {
        let get = |text: &str, key: &str| -> u64 {
            let found = text.lines().filter_map(|l| l.split_once(' ')).find(|(k, _)| *k == key);
            found.and_then(|(_, v)| v.parse().ok()).unwrap_or_default()
        };
        let host = Host {
            processors: get(cpu, "processors"),
            busy: get(cpu, "busy"),
            idle: get(cpu, "idle"),
            total: get(memory, "total"),
            available: get(memory, "available"),
        };
        Sample { at, wall, host, guests: stats.lines().map(guest).collect() }
    }
}

fn guest(line: &str) -> Figures {
    let line = Line::parse(line);
    let number = |key: &str| line.get(key).parse::<u64>().ok();
    Figures {
        name: line.name.into(),
        state: line.get("state").into(),
        run: number("run").unwrap_or_default(),
        backend: line.get("backend").into(),
        program: line.get("program").into(),
        since: number("since"),
        pid: number("pid"),
        cpu: number("cpu"),
        memory: number("memory"),
        restarts: number("restarts").unwrap_or_default(),
        why: line.get("why").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_and_what_they_lack_is_nothing() {
        let stats = "web state=running run=3 program=hello backend=qemu(tcg) since=50 pid=7 \
                     cpu=1500000 memory=4096 restarts=2\nold state=stopped run=1 since=9 how=killed \
                     why=it was killed\n";
        let cpu = "processors 2\nload1 0.5\nkvm true\nbusy 30\nidle 70\n";
        let sample = Sample::read(5, 6, stats, cpu, "total 100\navailable 40\n");
        assert_eq!((sample.at, sample.wall, sample.guests.len()), (5, 6, 2));
        let host = Host { processors: 2, busy: 30, idle: 70, total: 100, available: 40 };
        assert_eq!(sample.host, host);
        let [web, old] = &sample.guests[..] else { panic!("{sample:?}") };
        assert_eq!((web.cpu, web.memory, web.pid), (Some(1_500_000), Some(4096), Some(7)));
        assert_eq!((&*web.backend, web.restarts, &*web.program), ("qemu(tcg)", 2, "hello"));
        assert_eq!((&*old.why, old.cpu, &*old.backend), ("it was killed", None, ""));
        assert_eq!(Sample::read(0, 0, "", "", "x"), Sample::default());
    }
}
