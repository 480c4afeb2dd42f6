;; What is left of a dispatch that was abandoned or refused, and what nobody pays for.
;;
;; A command's letter names a test: it counts its checks, and refuses the command with
;; errno 1000 + n for the n-th that fails. `out` shows what came to `future` (a status, and
;; the body if that is 0) and `interrupt` (i, code, arg), each ended by ;, once. An ask's
;; letter says what its receiver does.
;;
;;! atoms a b c d
;;! budget 2097152
;;! write a/do a => EIO
;;! log a: because
;;! log a: abandoned a dispatch: unreachable code was reached
;;! write c/do b => EDQUOT
;;! log c: abandoned a dispatch: over its budget
;;! pass 5
;;! read c/out
;;! write a/do c => EIO
;;! write a/do d => EAGAIN
;;! write a/do e
;;! write a/do f
;;! read a/out -5;0 pong;
;;! write a/do g
;;! read a/out -32;
;;! write a/do h
;;! read a/out -32;
;;! write a/do i
;;! read a/out 0 pong;-17;-22;
;;! write a/do j
;;! read a/out
;;! write a/do k
;;! read b/out ok;
;;! read a/out
;;! write a/do l
;;! read a/out 0;
;;! write a/do a => EIO
;;! write a/do m
;;! pass 60000
;;! read a/out
;;! write b/do n
;;! write a/do o
;;! read b/out
;;! write b/do a => EIO
;;! read b/out i3 7;
;;! write a/do p
;;! write d/do q
;;! log d: abandoned a dispatch: unreachable code was reached
;;! write d/do p
;;! write d/do r
;;! log d: refused
;;! write d/do p
;;! write d/do s
;;! log d: abandoned a dispatch: its stack is used up
;;! write d/do p
;;! write a/do t
;;! read a/bad => EIO
;;! list a/dir good
;;! write a/do u
;;! log kid: abandoned a dispatch
;;! end 1

(module
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (import "atoll" "log" (func $log (param i32 i32) (result i32)))
  (import "atoll" "me" (func $me (result i32)))
  (import "atoll" "find" (func $find (param i32 i32) (result i32)))
  (import "atoll" "register" (func $register (param i32 i32) (result i32)))
  (import "atoll" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "atoll" "call" (func $call (param i32 i32 i32) (result i64)))
  (import "atoll" "reply" (func $reply (param i64 i32 i32 i32) (result i32)))
  (import "atoll" "signal" (func $signal (param i32 i32 i64) (result i32)))
  (import "atoll" "mask" (func $mask (param i64) (result i64)))
  (import "atoll" "unmask" (func $unmask (param i64) (result i64)))
  (import "atoll" "spawn" (func $spawn (param i32 i32 i32 i32) (result i32)))
  (import "atoll" "kill" (func $kill (param i32) (result i32)))
  (import "atoll" "sleep" (func $sleep (param i64) (result i64)))
  (import "atoll" "drop_future" (func $drop_future (param i64) (result i32)))
  (import "atoll" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (import "atoll" "kv_put" (func $kv_put (param i32 i32 i32 i32) (result i32)))
  (import "atoll" "lock" (func $lock (param i32 i32) (result i64)))
  (import "atoll" "unlock" (func $unlock (param i32) (result i32)))
  (@custom "atoll.files" "ctl do\ntext out\ntext bad\nnames dir\n")
  (memory (export "memory") 1)
  (data (i32.const 1024) "because")
  (data (i32.const 1040) "x")
  (data (i32.const 1056) "k")
  (data (i32.const 1072) "!")
  (data (i32.const 1088) "?")
  (data (i32.const 1104) "kid")
  (data (i32.const 1120) "2")
  (data (i32.const 1136) "e")
  (data (i32.const 1152) "r")
  (data (i32.const 1168) "l")
  (data (i32.const 1184) "door")
  (data (i32.const 1200) "\ff")
  (data (i32.const 1216) "no")
  (data (i32.const 1232) "pong")
  (data (i32.const 1248) "ok;")
  (data (i32.const 1264) "no/\0a..\0agood\0a\0acr\0d\0a")
  (global $n (export "__atoll_g0") (mut i32) (i32.const 0))
  (global $bad (export "__atoll_g1") (mut i32) (i32.const 0))
  (global $outcome (export "__atoll_g2") (mut i32) (i32.const 0))
  (global $last (export "__atoll_g3") (mut i64) (i64.const 0))
  (global $kid (export "__atoll_g4") (mut i32) (i32.const 0))
  ;; What `out` shows, at 512, and how long it is.
  (global $shown (export "__atoll_g5") (mut i32) (i32.const 0))
  ;; What `future` does: it traps, or refuses.
  (global $traps (export "__atoll_g6") (mut i32) (i32.const 0))
  (global $refuses (export "__atoll_g7") (mut i32) (i32.const 0))
  ;; An answer that is owed.
  (global $token (export "__atoll_g8") (mut i64) (i64.const 0))
  (type $test (func))
  (table 21 funcref)
  (elem (i32.const 0) $a $b $c $d $e $f $g $h $i $j $k $l $m $n $o $p $q $r $s $t $u)

  (func $is (param $got i32) (param $want i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.and (i32.ne (local.get $got) (local.get $want)) (i32.eqz (global.get $bad)))
      (then (global.set $bad (global.get $n)))))
  (func $is64 (param $got i64) (param $want i64)
    (call $is (i64.eq (local.get $got) (local.get $want)) (i32.const 1)))
  (func $asks (param $to i32) (param $ptr i32) (param $len i32)
    (global.set $last (call $call (local.get $to) (local.get $ptr) (local.get $len)))
    (call $is (i64.gt_s (global.get $last) (i64.const 0)) (i32.const 1)))
  (func $deep (param i32) (result i32)
    (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
  (func $show (param $byte i32)
    (i32.store8 (i32.add (i32.const 512) (global.get $shown)) (local.get $byte))
    (global.set $shown (i32.add (global.get $shown) (i32.const 1))))
  (func $digits (param $n i32)
    (if (i32.ge_u (local.get $n) (i32.const 10)) (then
      (call $digits (i32.div_u (local.get $n) (i32.const 10)))))
    (call $show (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))
  (func $number (param $n i32)
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then
      (call $show (i32.const 45))
      (local.set $n (i32.sub (i32.const 0) (local.get $n)))))
    (call $digits (local.get $n)))
  ;; The body's first letter.
  (func $letter (result i32)
    (drop (call $recv (i32.const 0) (i32.const 1) (i32.const 0)))
    (i32.load8_u (i32.const 0)))
  (func $asked (param $token i64) (param $what i32) (result i32)
    ;; !: it traps
    (if (i32.eq (local.get $what) (i32.const 33)) (then unreachable))
    ;; ?: it keeps the token
    (if (i32.eq (local.get $what) (i32.const 63)) (then
      (global.set $token (local.get $token))
      (return (i32.const 0))))
    ;; r: it refuses, and the token is void
    (if (i32.eq (local.get $what) (i32.const 114)) (then
      (drop (call $reply (local.get $token) (i32.const 0) (i32.const 1232) (i32.const 4)))
      (return (i32.const -22))))
    ;; e: an errno
    (if (i32.eq (local.get $what) (i32.const 101)) (then
      (return (call $reply (local.get $token) (i32.const -17) (i32.const 1024) (i32.const 7)))))
    ;; else, a reply
    (if (call $reply (local.get $token) (i32.const 0) (i32.const 1232) (i32.const 4)) (then unreachable))
    ;; 2: no second one
    (if (i32.eq (local.get $what) (i32.const 50)) (then
      (if (i32.ne (call $reply (local.get $token) (i32.const 0) (i32.const 0) (i32.const 0))
        (i32.const -116)) (then unreachable))))
    (i32.const 0))
  (func $told (param $what i32) (result i32)
    ;; !: it traps
    (if (i32.eq (local.get $what) (i32.const 33)) (then unreachable))
    ;; l: it replies late
    (if (i32.eq (local.get $what) (i32.const 108)) (then
      (if (call $reply (global.get $token) (i32.const 0) (i32.const 0) (i32.const 0))
        (then unreachable))
      (call $show (i32.const 111))
      (call $show (i32.const 107))
      (call $show (i32.const 59))))
    (i32.const 0))
  (func $command (result i32)
    (global.set $n (i32.const 0))
    (global.set $bad (i32.const 0))
    (global.set $outcome (i32.const 0))
    (call_indirect (type $test) (i32.sub (call $letter) (i32.const 97)))
    (if (global.get $bad) (then
      (return (i32.sub (i32.const -1000) (global.get $bad)))))
    (global.get $outcome))
  (func $read (param $file i64) (result i32)
    (if (i64.eq (local.get $file) (i64.const 2)) (then
      (return (call $answer (i32.const 1200) (i32.const 1)))))
    (drop (call $answer (i32.const 512) (global.get $shown)))
    (global.set $shown (i32.const 0))
    (i32.const 0))

  (func (export "atoll_abi") (result i32) (i32.const 1))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    (if (i32.eq (local.get $kind) (i32.const 1)) (then
      ;; START: parameters that begin with n are refused
      (return (i32.mul (i32.eq (call $letter) (i32.const 110)) (i32.const -22)))))
    (if (i32.eq (local.get $kind) (i32.const 2)) (then (return (call $told (call $letter)))))
    (if (i32.eq (local.get $kind) (i32.const 3)) (then
      (return (call $asked (local.get $id) (call $letter)))))
    (if (i32.eq (local.get $kind) (i32.const 4)) (then (return (call $read (local.get $id)))))
    (if (i32.eq (local.get $kind) (i32.const 5)) (then (return (call $command))))
    ;; NAMES: one that is good, between others
    (if (i32.eq (local.get $kind) (i32.const 7)) (then
      (if (i32.eqz (i32.wrap_i64 (local.get $id))) (then
        (return (call $answer (i32.const 1264) (i32.const 17)))))))
    (i32.const 0))
  (func (export "interrupt") (param $code i32) (param $arg i64) (param $len i32) (result i32)
    (if (i32.eq (local.get $code) (i32.const 9)) (then (drop (call $deep (i32.const 0)))))
    (call $show (i32.const 105))
    (call $number (local.get $code))
    (call $show (i32.const 32))
    (call $number (i32.wrap_i64 (local.get $arg)))
    (call $show (i32.const 59))
    (i32.const 0))
  (func (export "future") (param $id i64) (param $status i32) (param $len i32) (result i32)
    (if (global.get $traps) (then unreachable))
    (if (global.get $refuses) (then (return (i32.const -5))))
    (call $number (local.get $status))
    (if (i32.and (i32.eqz (local.get $status)) (i32.ne (local.get $len) (i32.const 0))) (then
      (call $show (i32.const 32))
      (global.set $shown (i32.add (global.get $shown) (call $recv
        (i32.add (i32.const 512) (global.get $shown)) (i32.const 100) (i32.const 0))))))
    (call $show (i32.const 59))
    (i32.const 0))

  ;; A line of the log, and a trap.
  (func $a
    (call $is (call $log (i32.const 1024) (i32.const 7)) (i32.const 0))
    unreachable)
  ;; As many futures as there may be.
  (func $b
    (loop $more
      (global.set $last (call $sleep (i64.const 1000000)))
      (br_if $more (i64.gt_s (global.get $last) (i64.const 0))))
    (call $is64 (global.get $last) (i64.const -122))
    (call $is (call $send (i32.const 0) (i32.const 1040) (i32.const 1)) (i32.const -122))
    (call $is (call $log (i32.const 1040) (i32.const 1)) (i32.const -122))
    (call $is (call $kill (call $me)) (i32.const -122))
    (global.set $bad (i32.const 0)))
  ;; Memory that nobody pays for is not there.
  (func $c
    (loop $more
      (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
      (br_if $more (i32.eqz (call $kv_put (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 65536)))))
    (loop $less
      (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
      (br_if $less (i32.eqz (call $kv_put (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 1024)))))
    (call $is (call $kv_put (i32.const 1056) (i32.const 1) (i32.const 0) (i32.const 65536)) (i32.const -28))
    (call $is (memory.grow (i32.const 1)) (i32.const -1))
    (call $is (memory.size) (i32.const 1))
    (global.set $outcome (i32.const -5)))
  ;; What is paid for is; what it refuses afterwards, it has still.
  (func $d
    (call $is (memory.grow (i32.const 1)) (i32.const 1))
    (global.set $outcome (i32.const -11)))
  ;; That is so.
  (func $e
    (call $is (memory.size) (i32.const 2)))
  ;; Who traps on an ask fails it; the next is put to the new instance.
  (func $f
    (call $asks (i32.const 1) (i32.const 1072) (i32.const 1))
    (call $asks (i32.const 1) (i32.const 1040) (i32.const 1)))
  ;; Who is abandoned owes nothing any more.
  (func $g
    (call $asks (i32.const 1) (i32.const 1088) (i32.const 1))
    (call $is (call $send (i32.const 1) (i32.const 1072) (i32.const 1)) (i32.const 0)))
  ;; Nor does who has gone, to whom it was not even put.
  (func $h
    (global.set $kid (call $spawn (i32.const 1104) (i32.const 3) (i32.const 0) (i32.const 0)))
    (call $asks (global.get $kid) (i32.const 1040) (i32.const 1))
    (call $is (call $kill (global.get $kid)) (i32.const 0)))
  ;; An ask is answered once, with a reply or an errno, or refused.
  (func $i
    (call $asks (i32.const 1) (i32.const 1120) (i32.const 1))
    (call $asks (i32.const 1) (i32.const 1136) (i32.const 1))
    (call $asks (i32.const 1) (i32.const 1152) (i32.const 1)))
  ;; An answer may be owed for long.
  (func $j
    (call $asks (i32.const 1) (i32.const 1088) (i32.const 1)))
  ;; Nobody waits, and who answers is not told.
  (func $k
    (call $is (call $drop_future (global.get $last)) (i32.const 0))
    (call $is (call $send (i32.const 1) (i32.const 1168) (i32.const 1)) (i32.const 0)))
  ;; A name, a lock, a sleep, and something that is stored.
  (func $l
    (call $is (call $register (i32.const 1184) (i32.const 4)) (i32.const 0))
    (global.set $last (call $sleep (i64.const 60000000000)))
    (global.set $last (call $lock (i32.const 1) (i32.const 0)))
    (call $is (call $kv_put (i32.const 1056) (i32.const 1) (i32.const 1024) (i32.const 7)) (i32.const 0)))
  ;; All is gone but what was stored.
  (func $m
    (call $is (call $find (i32.const 1184) (i32.const 4)) (i32.const -2))
    (call $is (call $unlock (i32.const 1)) (i32.const -1))
    (call $is (call $kv_get (i32.const 1056) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const 7))
    (call $is (memory.size) (i32.const 1)))
  ;; Interrupts wait.
  (func $n
    (call $is64 (call $mask (i64.const -1)) (i64.const 0))
    (call $is64 (call $mask (i64.const 1)) (i64.const -1)))
  ;; One of a code.
  (func $o
    (call $is (call $signal (i32.const 1) (i32.const 3) (i64.const 7)) (i32.const 0))
    (call $is (call $signal (i32.const 1) (i32.const 3) (i64.const 8)) (i32.const 0)))
  ;; The mask has 64 bits.
  (func $p
    (call $is64 (call $mask (i64.const -9223372036854775808)) (i64.const 0))
    (call $is64 (call $unmask (i64.const -1)) (i64.const -9223372036854775808))
    (call $is64 (call $unmask (i64.const -1)) (i64.const 0)))
  ;; A trap in `future`.
  (func $q
    (global.set $traps (i32.const 1))
    (global.set $last (call $sleep (i64.const 0))))
  ;; A refusal there.
  (func $r
    (global.set $refuses (i32.const 1))
    (global.set $last (call $sleep (i64.const 0))))
  ;; A trap in `interrupt`.
  (func $s
    (call $is (call $signal (call $me) (i32.const 9) (i64.const 0)) (i32.const 0)))
  ;; Parameters are text.
  (func $t
    (call $is (call $spawn (i32.const 1104) (i32.const 3) (i32.const 1200) (i32.const 1)) (i32.const -22)))
  ;; Who refuses its START is abandoned, and eight times are too many.
  (func $u
    (global.set $kid (call $spawn (i32.const 1104) (i32.const 3) (i32.const 1216) (i32.const 2))))
)
