//! Every input that is kept, and every seed, without the fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use atoll_9p::msg::{Rmsg, Tmsg};
use atoll_9p::wire::BadFrame;
use atoll_fuzz::decode::DIALECTS;
use atoll_fuzz::layout::{self, ANSWERS, REQUESTS};
use atoll_fuzz::rng::Rng;
use atoll_fuzz::{MAX_INPUT, TARGETS};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Says which input it was when one panics.
struct Named<'a>(&'a str, String);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Named(target, input) = self;
            eprintln!("again, alone: cargo xtask fuzz {target} {input}");
        }
    }
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|t| t.name == name).expect("a target of that name");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus().join(name)).expect("its corpus") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _named = Named(name, format!("fuzz/corpus/{name}/{file}"));
        (target.run)(&fs::read(&path).expect("an input"));
        inputs += 1;
    }
    assert!(inputs > 20, "only {inputs} inputs are kept");
    for (i, seed) in (target.seeds)().iter().enumerate() {
        let _named = Named(name, format!("target/atoll/fuzz/seeds/{name}/seed-{i:03}"));
        assert!(seed.len() <= MAX_INPUT, "a seed of {} bytes", seed.len());
        (target.run)(seed);
    }
}

#[test]
fn vchan_holds_on_every_kept_input() {
    replay("vchan");
}

#[test]
fn xenstore_holds_on_every_kept_input() {
    replay("xenstore");
}

#[test]
fn decode_holds_on_every_kept_input() {
    replay("decode");
}

#[test]
fn server_holds_on_every_kept_input() {
    replay("server");
}

#[test]
fn client_holds_on_every_kept_input() {
    replay("client");
}

#[test]
fn mux_holds_on_every_kept_input() {
    replay("mux");
}

#[test]
fn record_holds_on_every_kept_input() {
    replay("record");
}

#[test]
fn keeper_holds_on_every_kept_input() {
    replay("keeper");
}

#[test]
fn checkpoint_holds_on_every_kept_input() {
    replay("checkpoint");
}

#[test]
fn abi_holds_on_every_kept_input() {
    replay("abi");
}

#[test]
fn image_holds_on_every_kept_input() {
    replay("image");
}

#[test]
fn module_holds_on_every_kept_input() {
    replay("module");
}

#[test]
fn every_folder_of_the_corpus_is_of_a_target_and_all_is_small() {
    let mut bytes = 0;
    let mut folders = BTreeSet::new();
    for folder in fs::read_dir(corpus()).expect("the corpus") {
        let folder = folder.expect("a folder");
        folders.insert(folder.file_name().to_string_lossy().into_owned());
        for input in fs::read_dir(folder.path()).expect("a folder") {
            bytes += input.and_then(|i| i.metadata()).expect("an input").len();
        }
    }
    assert_eq!(folders, TARGETS.iter().map(|t| t.name.to_owned()).collect());
    assert!(bytes < 1 << 20, "{bytes} bytes: keep less");
}

/// The crate knows the fields of a message as the layouts do, in some dialect.
#[test]
fn layouts_and_decoders_agree() {
    let mut rng = Rng::new(3);
    for layout in REQUESTS.iter().chain(ANSWERS) {
        let (name, ty, _) = *layout;
        for _ in 0..50 {
            let frame = layout::frame(ty, 1, &layout::body(layout, &mut rng));
            let bad: Vec<_> = match name.starts_with('T') {
                true => DIALECTS.iter().map(|d| Tmsg::decode_in(*d, &frame).err()).collect(),
                false => vec![Rmsg::decode(&frame).err()],
            };
            // Numbers are any, and so are counts of names.
            let fine = |e: &_| matches!(e, None | Some(BadFrame::Names | BadFrame::Value));
            assert!(bad.iter().any(fine), "{name}: {bad:?}: {frame:?}");
        }
    }
}
