//! The machine that Xen runs on: QEMU without hardware help.
//!
//! What is left out of the processor is what Xen, or what runs on it, cannot bear to have
//! emulated: mwait makes Xen panic, SMAP breaks a PV dom0, RDTSCP crashes domains under
//! an emulated SVM, and AVX and XSAVE have been seen to damage data. (The rest QEMU has not,
//! and would say so each time.) There is one
//! processor, since a second would only wait for the first.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::monitor::Monitor;
use crate::qemu::{Launch, Qemu};
use crate::shell::JOBS;

/// RAM of the machine, in MiB.
pub(super) const MEMORY: u64 = 1024;

/// What of it is dom0's, in MiB; the rest is for domains.
const DOM0: u64 = 384;

/// Streams that can be open at the same time.
pub(super) const STREAMS: usize = 8;

const CPU: &str = "EPYC,+svm,+npt,-monitor,-smap,-smep,-rdtscp,-xsave,-avx,-avx2,-f16c,-fma,\
    -bmi1,-bmi2,-rdseed,-sha-ni,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-topoext,-nrip-save,\
    -xsavec";

const XEN: &str = "console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=all dom0=pv \
    cpuidle=no cpufreq=none spec-ctrl=no no-real-mode edd=off edid=no vga=none bootscrub=0";

const LINUX: &str = "console=hvc0 quiet loglevel=3 panic=-1 nokaslr mitigations=off audit=0 \
    nowatchdog tsc=reliable no_timer_check cryptomgr.notests raid=noautodetect 8250.nr_uarts=1 \
    pci=nommconf rcupdate.rcu_expedited=1 random.trust_cpu=on";

/// What of this a snapshot depends on.
pub(super) fn identity() -> String {
    format!("{MEMORY} {DOM0} {STREAMS} {JOBS} {CPU} {XEN} {LINUX} 1")
}

/// The number of the last port.
pub(super) fn last_port() -> String {
    (JOBS + 1 + STREAMS).to_string()
}

/// What a machine begins with.
pub(super) enum Begin<'a> {
    /// It boots, and can be told to write its state down.
    Boot { linux: &'a Path, archive: &'a [u8] },
    /// It goes on from a state, and what it writes to its RAM is its own.
    GoOn { state: File },
}

/// A machine with its ports.
pub(super) struct Machine {
    pub(super) qemu: Qemu,
    pub(super) ports: Vec<UnixStream>,
    pub(super) monitor: Monitor,
}

/// Starts one. Its folder has a `share`, which dom0 can mount, and gets the sockets of
/// the streams.
pub(super) fn start(xen: File, ram: File, begin: Begin<'_>, folder: &Path) -> Result<Machine> {
    let mut launch = Launch::new()?;
    launch.folder(folder);
    let (xen, ram) = (launch.file(xen), launch.file(ram));
    let share = if matches!(begin, Begin::Boot { .. }) { "on" } else { "off" };
    launch
        .args(["-M", "q35,memory-backend=ram", "-accel", "tcg,thread=multi"])
        .args(["-cpu", CPU, "-smp", "1", "-m", &format!("{MEMORY}M"), "-object"])
        .args([format!("memory-backend-file,id=ram,size={MEMORY}M,mem-path={ram},share={share}")])
        .args(["-kernel", &xen, "-append", &format!("{XEN} dom0_mem={DOM0}M,max:{DOM0}M")])
        .args(["-fsdev", "local,id=share,path=share,security_model=none,multidevs=remap"])
        .args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=host"])
        .args(["-device", "virtio-rng-pci"]);
    let monitor = launch.socket("monitor")?;
    launch.args(["-mon", "chardev=monitor,mode=control"]);
    let mut incoming = None;
    match begin {
        Begin::Boot { linux, archive } => {
            let linux = launch.file(File::open(linux)?);
            let archive = launch.bytes(archive)?;
            launch.args(["-initrd", &format!("{linux} {LINUX},{archive}")]);
        }
        // What has booted needs nothing to boot from.
        Begin::GoOn { state } => {
            incoming = Some(format!("fd:{}", launch.give(state)));
            launch.args(["-incoming", "defer"]);
        }
    }
    let ports = launch.ports(JOBS + 1)?;
    for number in 1..=STREAMS {
        let name = format!("stream{number}");
        launch
            .args(["-chardev", &format!("socket,id={name},path={name},server=on,wait=off")])
            .port(&name, JOBS + 1 + number);
    }
    let qemu = launch.start()?;
    let mut monitor = Monitor::new(monitor).with_context(|| qemu.said())?;
    // RAM is in its file already.
    let shared = json!([{"capability": "x-ignore-shared", "state": true}]);
    monitor.ask("migrate-set-capabilities", json!({"capabilities": shared}))?;
    if let Some(uri) = incoming {
        monitor.ask("migrate-incoming", json!({"uri": uri})).with_context(|| qemu.said())?;
    }
    Ok(Machine { qemu, ports, monitor })
}
