//! Bars for work that takes long, on standard error.
//!
//! A thread of its own draws them, so that work which cannot be interrupted for it has one
//! too, and begins only after a while: what is done quickly shows nothing. Where nobody
//! looks, there is neither bar nor thread.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that takes less than this shows nothing.
const QUICK: Duration = Duration::from_millis(200);
/// How often it is drawn.
const AGAIN: Duration = Duration::from_millis(100);

/// Work that is underway. To drop it is to take its bar away.
#[derive(Debug)]
pub(super) struct Progress {
    done: Arc<AtomicU64>,
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
}

/// What is known of the work's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// So many bytes.
    Bytes(u64),
    /// Bytes, nobody knows how many.
    Unknown,
    /// It has no parts.
    Whole,
}

impl Progress {
    /// Work begins, which is called so in the present tense, such as "sends hello.img".
    pub(super) fn begin(what: &str, size: Size) -> Progress {
        let seen = std::io::stderr().is_terminal();
        let target = || if seen { Some(ProgressDrawTarget::stderr()) } else { None };
        Progress::on(what, size, target())
    }

    fn on(what: &str, size: Size, target: Option<ProgressDrawTarget>) -> Progress {
        let done = Arc::new(AtomicU64::new(0));
        let thread = target.map(|target| {
            let (end, ended) = sync_channel(1);
            let (what, done) = (what.to_owned(), done.clone());
            (end, std::thread::spawn(move || show(what, size, target, &done, &ended)))
        });
        Progress { done, thread }
    }

    /// So many bytes are done.
    pub(super) fn at(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn style(size: Size) -> ProgressStyle {
    let template = match size {
        Size::Bytes(_) => "{msg} [{bar:24}] {binary_bytes} of {binary_total_bytes}",
        Size::Unknown => "{spinner} {msg}  {binary_bytes}  {elapsed}",
        Size::Whole => "{spinner} {msg}  {elapsed}",
    };
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("#- ")
}

fn show(
    what: String,
    size: Size,
    target: ProgressDrawTarget,
    done: &AtomicU64,
    ended: &Receiver<()>,
) {
    if ended.recv_timeout(QUICK) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    let len = if let Size::Bytes(n) = size { Some(n) } else { None };
    let bar = ProgressBar::with_draw_target(len, target).with_style(style(size));
    let bar = bar.with_message(what).with_elapsed(QUICK);
    loop {
        bar.set_position(done.load(Ordering::Relaxed));
        bar.tick();
        if ended.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    bar.finish_and_clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::Mutex;

    /// A terminal that remembers what was written.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.write_str(s)
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("|cleared")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_takes_long_is_shown_and_taken_away() {
        for (size, sign) in [
            (Size::Bytes(4 << 20), "sends x [####"),
            (Size::Unknown, "sends x  1.00 MiB  "),
            (Size::Whole, "sends x  0s"),
        ] {
            let paper = Paper::default();
            let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
            let progress = Progress::on("sends x", size, Some(target));
            progress.at(1 << 20);
            while !paper.0.lock().unwrap().contains(sign) {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(progress);
            let text = paper.0.lock().unwrap().clone();
            assert!(text.ends_with("|cleared"), "{text}");
        }
    }

    #[test]
    fn what_is_over_at_once_shows_nothing() {
        let paper = Paper::default();
        let (end, ended) = sync_channel(1);
        end.send(()).unwrap();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        show("x".into(), Size::Whole, target, &AtomicU64::new(0), &ended);
        assert!(paper.0.lock().unwrap().is_empty());
        // Nobody looks: there is nothing to wait for.
        assert!(Progress::on("x", Size::Whole, None).thread.is_none());
    }
}
