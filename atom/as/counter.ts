// A counter: `add N` to ctl, count shows it, events has a line for each change, and the
// command `later N` adds N in a second.
//
//# text count
//# ctl ctl
//# events events 4096

import { ABI, abi, answer, body, done, emit, errno, kind } from "./atoll";

const EVENTS: u32 = 2;
const SECOND: i64 = 1_000_000_000;

let count: i64 = 0;
// The futures that wait, and what each is to add.
const pending = new Map<i64, i64>();

function add(n: i64): i32 {
  const result = emit(EVENTS, (count + n).toString());
  if (result == 0) count += n;
  return result;
}

function later(n: i64): i32 {
  const future = abi.sleep(SECOND);
  if (future < 0) return <i32>future;
  pending.set(future, n);
  return 0;
}

function command(line: string): i32 {
  const words = line.trim().split(" ");
  if (words.length == 2 && words[0] == "add") return add(I64.parseInt(words[1]));
  if (words.length == 2 && words[0] == "later") return later(I64.parseInt(words[1]));
  answer("add N | later N");
  return -errno.EINVAL;
}

export function atoll_abi(): i32 {
  return ABI;
}

function handle(what: i32, len: i32): i32 {
  if (what == kind.START || what == kind.WATCHED) return 0;
  if (what == kind.READ) return answer(count.toString() + "\n");
  if (what == kind.COMMAND) return command(body(len));
  return -errno.EOPNOTSUPP;
}

export function invoke(what: i32, id: i64, len: i32): i32 {
  return done(handle(what, len));
}

export function future(id: i64, status: i32, len: i32): i32 {
  if (!pending.has(id)) return 0;
  const n = pending.get(id);
  pending.delete(id);
  return done(add(n));
}
