//! Who comes to a guest's tree: people through its sockets, and this program itself.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use atoll_9p::types::OpenFlags;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::{BOOT, Voice};
use crate::checkpoint::{self, Source};
use crate::conn::Conn;
use crate::joint::Joint;
use crate::shim::Report;
use crate::stream::Stream;

/// How long a guest may take to answer for the first time before that is worth a word.
const SLOW: Duration = Duration::from_secs(10);

/// Says that the guest is up, and then its log for as long as there is one.
/// Over a guest's connections, `heard` says where it is; from the second on there is no more
/// to say of the start.
pub(super) async fn follow_log(
    joint: Joint,
    voice: Rc<dyn Voice>,
    on: String,
    at: String,
    heard: Rc<Cell<Option<u64>>>,
) {
    let mut there = pin!(inside(&joint));
    let conn = match timeout(SLOW, &mut there).await {
        Ok(conn) => conn,
        Err(_) => {
            if heard.get().is_none() {
                let secs = SLOW.as_secs();
                voice.tell(&format!(
                    "has not answered for {secs} s: it is paused, or hangs, or has no processor"
                ));
            }
            there.await
        }
    };
    let Some(mut conn) = conn else { return };
    if heard.get().is_none() {
        voice.say(&format!("on {on}, tree at {at}"));
        voice.report(&Report::Running(on));
        heard.set(Some(0));
    }
    if conn.walk("log").await.is_err() || conn.open_file(OpenFlags::RDONLY).await.is_err() {
        return;
    }
    let (mut line, mut offset) = (Vec::new(), heard.get().unwrap_or(0));
    while let Ok(bytes) = conn.read(offset).await {
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
        heard.set(Some(offset));
        for &b in &bytes {
            if b == b'\n' {
                voice.log(&line);
                line.clear();
            } else if line.len() < 4096 {
                line.push(b);
            }
        }
    }
    if !line.is_empty() {
        voice.log(&line);
    }
}

/// Gives a guest the checkpoint that it goes on from.
pub(super) async fn restore(joint: &Joint, from: &Source) -> anyhow::Result<()> {
    let mut conn = inside(joint).await.context("it ended before it could be asked")?;
    Ok(checkpoint::give(&mut conn, from, &mut |_| {}).await?)
}

/// Asks the guest to stop, which it does after a last checkpoint if they are kept. It may be
/// gone before it has answered.
pub(super) async fn stop(joint: Joint) {
    if let Some(mut conn) = inside(&joint).await {
        let _ = conn.write_file("ctl", b"stop").await;
    }
}

/// A client of our own.
pub(crate) async fn inside(joint: &Joint) -> Option<Conn> {
    let (ours, theirs) = UnixStream::pair().ok()?;
    own_client(joint, theirs.try_into().ok()?);
    Conn::attach(ours.into(), BOOT).await.ok()
}

pub(super) async fn accept_unix(joint: Joint, listener: UnixListener) {
    loop {
        joint.room().await;
        match listener.accept().await.and_then(|(stream, _)| stream.try_into()) {
            Ok(stream) => client(&joint, stream),
            // Out of descriptors, most likely: others will be given back.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Whoever watches the guest comes here, and is not taken for work.
pub(super) async fn accept_ours(joint: Joint, listener: UnixListener) {
    loop {
        match listener.accept().await.and_then(|(stream, _)| stream.try_into()) {
            Ok(stream) => own_client(&joint, stream),
            // Out of descriptors, most likely: others will be given back.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

pub(super) async fn accept_tcp(joint: Joint, listener: TcpListener) {
    loop {
        joint.room().await;
        match listener.accept().await.and_then(|(stream, _)| stream.try_into()) {
            Ok(stream) => client(&joint, stream),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn own_client(joint: &Joint, stream: Stream) {
    let joint = joint.clone();
    spawn_local(async move { joint.serve_ours(stream).await });
}

fn client(joint: &Joint, stream: Stream) {
    let joint = joint.clone();
    spawn_local(async move { joint.serve_client(stream).await });
}
