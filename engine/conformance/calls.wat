;; Every call of the ABI (atom/ABI.md), what it gives, and what it refuses.
;;
;; A command's first letter names a test. A test counts its checks, and refuses the
;; command with errno 1000 + n for the n-th that fails. `out` shows what came last to
;; `future` (f status body) or `interrupt` (i code arg), once.
;;
;;! atoms a b
;;! write a/do a hello
;;! write a/do b
;;! write a/do c
;;! write a/do d
;;! log a: hello
;;! tail a/ev hello
;;! write a/do e
;;! write a/do f
;;! write a/do g
;;! read a/out f 0 pong
;;! write a/do h
;;! pass 1
;;! read a/out
;;! pass 3
;;! read a/out f 0
;;! write a/do i
;;! read a/out i 2 6
;;! write a/do j
;;! read a/out i 1 5
;;! write a/do k
;;! write a/do l
;;! write a/do m
;;! write a/do n
;;! read a/out f 0
;;! write a/do o
;;! write a/do p
;;! write a/do q
;;! write a/do r
;;! write a/do s
;;! write a/do t => EIO
;;! log unreachable code was reached
;;! write a/do a hello
;;! write a/do u => EIO
;;! log a division by zero
;;! write a/do a hello
;;! write a/do v => EIO
;;! log an access outside of its memory
;;! write a/do a hello
;;! write a/do w => EIO
;;! log its stack is used up
;;! write a/do a hello
;;! write a/do x => EIO
;;! log a call of a function that is not there
;;! write a/do a hello
;;! write a/do y => ETIMEDOUT
;;! log beyond its time
;;! write a/do a hello
;;! write a/do z => ETIMEDOUT
;;! write a/do a hello
;;! write a/do A => ETIMEDOUT
;;! write a/do a hello
;;! write a/do l
;;! write a/do B => EEXIST because
;;! write a/do C => EIO
;;! write a/do D => EIO
;;! nolog a: pong
;;! write a/do E
;;! write a/do G
;;! write a/do F
;;! end 3

(module
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (import "atoll" "now" (func $now (result i64)))
  (import "atoll" "wall" (func $wall (result i64)))
  (import "atoll" "random" (func $random (result i64)))
  (import "atoll" "log" (func $log (param i32 i32) (result i32)))
  (import "atoll" "emit" (func $emit (param i32 i32 i32) (result i32)))
  (import "atoll" "exit" (func $exit (param i32)))
  (import "atoll" "me" (func $me (result i32)))
  (import "atoll" "sender" (func $sender (result i32)))
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
  (import "atoll" "file_read" (func $file_read (param i32 i32 i64 i32) (result i64)))
  (import "atoll" "file_write" (func $file_write (param i32 i32 i64 i32 i32) (result i64)))
  (import "atoll" "file_list" (func $file_list (param i32 i32) (result i64)))
  (import "atoll" "file_stat" (func $file_stat (param i32 i32) (result i64)))
  (import "atoll" "open" (func $open (param i32 i32 i32) (result i64)))
  (import "atoll" "walk" (func $walk (param i32 i32 i32 i32) (result i64)))
  (import "atoll" "read" (func $read (param i32 i64 i32) (result i64)))
  (import "atoll" "write" (func $write (param i32 i64 i32 i32) (result i64)))
  (import "atoll" "stat" (func $stat (param i32) (result i64)))
  (import "atoll" "close" (func $close (param i32) (result i32)))
  (import "atoll" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (import "atoll" "kv_put" (func $kv_put (param i32 i32 i32 i32) (result i32)))
  (import "atoll" "kv_del" (func $kv_del (param i32 i32) (result i32)))
  (import "atoll" "kv_next" (func $kv_next (param i32 i32 i32 i32) (result i32)))
  (import "atoll" "log_append" (func $log_append (param i32 i32) (result i64)))
  (import "atoll" "log_read" (func $log_read (param i64 i32 i32) (result i32)))
  (import "atoll" "scratch_read" (func $scratch_read (param i32 i32 i32) (result i32)))
  (import "atoll" "scratch_write" (func $scratch_write (param i32 i32 i32) (result i32)))
  (import "atoll" "scratch_add" (func $scratch_add (param i32 i64 i32) (result i32)))
  (import "atoll" "scratch_cas" (func $scratch_cas (param i32 i64 i64 i32) (result i32)))
  (import "atoll" "lock" (func $lock (param i32 i32) (result i64)))
  (import "atoll" "unlock" (func $unlock (param i32) (result i32)))
  (@custom "atoll.files" "ctl do\ntext out\nevents ev 256\n")
  (memory (export "memory") 1)
  (data (i32.const 1024) "a")
  (data (i32.const 1040) "b")
  (data (i32.const 1056) "zz")
  (data (i32.const 1072) "A!")
  (data (i32.const 1088) "kid")
  (data (i32.const 1104) "hello")
  (data (i32.const 1120) "line\0abreak")
  (data (i32.const 1136) "because")
  (data (i32.const 1152) "key")
  (data (i32.const 1168) "value")
  (data (i32.const 1184) "k2")
  (data (i32.const 1200) "pong")
  (data (i32.const 1216) "/")
  (data (i32.const 1232) "x")
  (data (i32.const 1248) "\ff\fe")
  (global $n (export "__atoll_g0") (mut i32) (i32.const 0))
  (global $bad (export "__atoll_g1") (mut i32) (i32.const 0))
  (global $outcome (export "__atoll_g2") (mut i32) (i32.const 0))
  (global $future (export "__atoll_g3") (mut i64) (i64.const 0))
  (global $kid (export "__atoll_g4") (mut i32) (i32.const 0))
  ;; What `out` shows, at 512, and how long it is.
  (global $shown (export "__atoll_g5") (mut i32) (i32.const 0))
  (type $test (func))
  (table 58 funcref)
  (elem (i32.const 0) $A $B $C $D $E $F $G)
  (elem (i32.const 32) $a $b $c $d $e $f $g $h $i $j $k $l $m $n $o $p $q $r $s $t $u $v $w $x $y $z)

  (func $is (param $got i32) (param $want i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.and (i32.ne (local.get $got) (local.get $want)) (i32.eqz (global.get $bad)))
      (then (global.set $bad (global.get $n)))))
  (func $is64 (param $got i64) (param $want i64)
    (call $is (i64.eq (local.get $got) (local.get $want)) (i32.const 1)))
  (func $deep (param i32) (result i32)
    (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
  (func $show (param $byte i32)
    (i32.store8 (i32.add (i32.const 512) (global.get $shown)) (local.get $byte))
    (global.set $shown (i32.add (global.get $shown) (i32.const 1))))
  ;; A space and a number of one digit.
  (func $digit (param i32)
    (call $show (i32.const 32))
    (call $show (i32.add (i32.const 48) (local.get 0))))

  (func (export "atoll_abi") (result i32) (i32.const 1))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    ;; ASK: pong.
    (if (i32.eq (local.get $kind) (i32.const 3)) (then
      (return (call $reply (local.get $id) (i32.const 0) (i32.const 1200) (i32.const 4)))))
    ;; READ.
    (if (i32.eq (local.get $kind) (i32.const 4)) (then
      (drop (call $answer (i32.const 512) (global.get $shown)))
      (global.set $shown (i32.const 0))
      (return (i32.const 0))))
    ;; COMMAND.
    (if (i32.ne (local.get $kind) (i32.const 5)) (then (return (i32.const 0))))
    (global.set $n (i32.const 0))
    (global.set $bad (i32.const 0))
    (global.set $outcome (i32.const 0))
    (drop (call $recv (i32.const 0) (i32.const 1) (i32.const 0)))
    (call_indirect (type $test) (i32.sub (i32.load8_u (i32.const 0)) (i32.const 65)))
    (if (global.get $bad) (then
      (return (i32.sub (i32.const -1000) (global.get $bad)))))
    (global.get $outcome))
  (func (export "interrupt") (param $code i32) (param $arg i64) (param $len i32) (result i32)
    (global.set $shown (i32.const 0))
    (call $show (i32.const 105))
    (call $digit (local.get $code))
    (call $digit (i32.wrap_i64 (local.get $arg)))
    (i32.const 0))
  (func (export "future") (param $id i64) (param $status i32) (param $len i32) (result i32)
    (global.set $shown (i32.const 0))
    (call $show (i32.const 102))
    (call $digit (local.get $status))
    (if (local.get $len) (then
      (call $show (i32.const 32))
      (global.set $shown (i32.add (global.get $shown)
        (call $recv (i32.const 516) (i32.const 100) (i32.const 0))))))
    (i32.const 0))

  ;; Recv copies the part that is asked for.
  (func $a
    (call $is (call $recv (i32.const 4096) (i32.const 100) (i32.const 0)) (i32.const 7))
    (call $is (i32.load8_u (i32.const 4098)) (i32.const 104))
    (call $is (call $recv (i32.const 4096) (i32.const 3) (i32.const 2)) (i32.const 3))
    (call $is (call $recv (i32.const 4096) (i32.const 3) (i32.const 7)) (i32.const 0))
    (call $is (call $recv (i32.const 4096) (i32.const 3) (i32.const -1)) (i32.const 0))
    (call $is (call $recv (i32.const 4096) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $recv (i32.const 65536) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $recv (i32.const 65537) (i32.const 0) (i32.const 0)) (i32.const -14))
    (call $is (call $recv (i32.const 65530) (i32.const 7) (i32.const 0)) (i32.const -14))
    (call $is (call $recv (i32.const -1) (i32.const 1) (i32.const 0)) (i32.const -14))
    (call $is (call $recv (i32.const 0) (i32.const -1) (i32.const 0)) (i32.const -14))
    (call $is (call $recv (i32.const -1) (i32.const -1) (i32.const 0)) (i32.const -14)))
  ;; A wild pointer or length is a fault, in every call.
  (func $b
    (call $is (call $answer (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $log (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $emit (i32.const 2) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $find (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $register (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $send (i32.const 0) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is64 (call $call (i32.const 0) (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is (call $reply (i64.const 1) (i32.const 0) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $spawn (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -14))
    (call $is (call $spawn (i32.const 1088) (i32.const 3) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is64 (call $file_list (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is (call $kv_get (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -14))
    (call $is (call $kv_get (i32.const 1152) (i32.const 3) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $kv_put (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -14))
    (call $is (call $kv_put (i32.const 1152) (i32.const 3) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $kv_del (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $kv_next (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -14))
    (call $is (call $kv_next (i32.const 1152) (i32.const 3) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is64 (call $log_append (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is (call $log_read (i64.const 0) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $scratch_read (i32.const 0) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $scratch_write (i32.const 0) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $scratch_add (i32.const 0) (i64.const 1) (i32.const 65529)) (i32.const -14))
    (call $is (call $scratch_cas (i32.const 0) (i64.const 0) (i64.const 1) (i32.const -1)) (i32.const -14))
    (call $is (call $answer (i32.const 65536) (i32.const 1)) (i32.const -14))
    (call $is (call $answer (i32.const 0) (i32.const -1)) (i32.const -14))
    (call $is (call $answer (i32.const -2147483648) (i32.const -2147483648)) (i32.const -14))
    (call $is (call $emit (i32.const 0) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $send (i32.const 99) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $spawn (i32.const 1072) (i32.const 2) (i32.const -1) (i32.const 1)) (i32.const -14))
    (call $is (call $scratch_read (i32.const -1) (i32.const -1) (i32.const 1)) (i32.const -14)))
  ;; Time stands still, and chance does not.
  (func $c
    (call $is64 (call $now) (call $now))
    (call $is (i64.ge_s (call $wall) (i64.const 0)) (i32.const 1))
    (call $is (i64.eq (call $random) (call $random)) (i32.const 0)))
  ;; Lines of the log and of an event file.
  (func $d
    (call $is (call $log (i32.const 1104) (i32.const 5)) (i32.const 0))
    (call $is (call $log (i32.const 0) (i32.const 60000)) (i32.const 0))
    (call $is (call $emit (i32.const 2) (i32.const 1104) (i32.const 5)) (i32.const 0))
    (call $is (call $emit (i32.const 2) (i32.const 1248) (i32.const 2)) (i32.const 0))
    (call $is (call $log (i32.const 1248) (i32.const 2)) (i32.const 0))
    (call $is (call $emit (i32.const 2) (i32.const 0) (i32.const 4097)) (i32.const -90))
    (call $is (call $emit (i32.const 2) (i32.const 1120) (i32.const 10)) (i32.const -22))
    (call $is (call $emit (i32.const 0) (i32.const 1104) (i32.const 5)) (i32.const -22))
    (call $is (call $emit (i32.const 9) (i32.const 1104) (i32.const 5)) (i32.const -22))
    (call $is (call $emit (i32.const -1) (i32.const 1104) (i32.const 5)) (i32.const -22)))
  ;; Components, and who is none.
  (func $e
    (call $is (call $me) (i32.const 0))
    (call $is (call $sender) (i32.const -2))
    (call $is (call $find (i32.const 1024) (i32.const 1)) (i32.const 0))
    (call $is (call $find (i32.const 1040) (i32.const 1)) (i32.const 1))
    (call $is (call $find (i32.const 1056) (i32.const 2)) (i32.const -2))
    (call $is (call $find (i32.const 1072) (i32.const 2)) (i32.const -2))
    (call $is (call $find (i32.const 1248) (i32.const 2)) (i32.const -2))
    (call $is (call $send (i32.const 99) (i32.const 1232) (i32.const 1)) (i32.const -2))
    (call $is (call $send (i32.const -1) (i32.const 1232) (i32.const 1)) (i32.const -2))
    (call $is64 (call $call (i32.const 99) (i32.const 1232) (i32.const 1)) (i64.const -2))
    (call $is (call $register (i32.const 1072) (i32.const 2)) (i32.const -22))
    (call $is (call $register (i32.const 1056) (i32.const 2)) (i32.const 0))
    (call $is (call $reply (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const -116))
    (call $is (call $reply (i64.const -1) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const -116))
    (call $is (call $reply (i64.const 999) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const -116))
    (call $is (call $reply (i64.const 1) (i32.const -4096) (i32.const 0) (i32.const 0)) (i32.const -22))
    (call $is (call $reply (i64.const 1) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -22))
    (call $is (call $reply (i64.const 1) (i32.const -2147483648) (i32.const 0) (i32.const 0)) (i32.const -22)))
  ;; What is too long is too long.
  (func $f
    (drop (memory.grow (i32.const 1)))
    (call $is (call $send (i32.const 0) (i32.const 0) (i32.const 65537)) (i32.const -90))
    (call $is64 (call $call (i32.const 0) (i32.const 0) (i32.const 65537)) (i64.const -90))
    (call $is (call $reply (i64.const 1) (i32.const 0) (i32.const 0) (i32.const 65537)) (i32.const -90))
    (call $is (call $kv_put (i32.const 1152) (i32.const 3) (i32.const 0) (i32.const 65537)) (i32.const -90))
    (call $is64 (call $log_append (i32.const 0) (i32.const 65537)) (i64.const -90))
    (call $is (call $spawn (i32.const 1088) (i32.const 3) (i32.const 0) (i32.const 4097)) (i32.const -90)))
  ;; An ask: b answers pong.
  (func $g
    (call $is (i64.gt_s (call $call (i32.const 1) (i32.const 1104) (i32.const 5)) (i64.const 0)) (i32.const 1)))
  ;; A sleep that is dropped, and one that fires.
  (func $h
    (global.set $future (call $sleep (i64.const 1000000)))
    (call $is (i64.gt_s (global.get $future) (i64.const 0)) (i32.const 1))
    (call $is (call $drop_future (global.get $future)) (i32.const 0))
    (call $is (call $drop_future (global.get $future)) (i32.const -116))
    (call $is (call $drop_future (i64.const 0)) (i32.const -116))
    (call $is (call $drop_future (i64.const -5)) (i32.const -116))
    (call $is (i64.gt_s (call $sleep (i64.const 2000000)) (i64.const 0)) (i32.const 1)))
  ;; One interrupt waits, and one comes.
  (func $i
    (call $is64 (call $mask (i64.const 2)) (i64.const 0))
    (call $is64 (call $mask (i64.const 0)) (i64.const 2))
    (call $is (call $signal (i32.const 0) (i32.const 1) (i64.const 5)) (i32.const 0))
    (call $is (call $signal (i32.const 0) (i32.const 2) (i64.const 6)) (i32.const 0))
    (call $is (call $signal (i32.const 0) (i32.const 63) (i64.const 0)) (i32.const -22))
    (call $is (call $signal (i32.const 0) (i32.const -1) (i64.const 0)) (i32.const -22))
    (call $is (call $signal (i32.const -1) (i32.const 63) (i64.const 0)) (i32.const -22))
    (call $is (call $signal (i32.const 99) (i32.const 1) (i64.const 0)) (i32.const -2)))
  ;; The other one comes now.
  (func $j
    (call $is64 (call $unmask (i64.const 2)) (i64.const 2))
    (call $is64 (call $unmask (i64.const 0)) (i64.const 0)))
  ;; The store.
  (func $k
    (call $is (call $kv_get (i32.const 1152) (i32.const 3) (i32.const 0) (i32.const 0)) (i32.const -2))
    (call $is (call $kv_put (i32.const 1152) (i32.const 3) (i32.const 1168) (i32.const 5)) (i32.const 0))
    (call $is (call $kv_get (i32.const 1152) (i32.const 3) (i32.const 4096) (i32.const 2)) (i32.const 5))
    (call $is (i32.load8_u (i32.const 4097)) (i32.const 97))
    (call $is (call $kv_get (i32.const 1152) (i32.const 3) (i32.const 0) (i32.const 0)) (i32.const 5))
    (call $is (call $kv_put (i32.const 1184) (i32.const 2) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $kv_get (i32.const 1184) (i32.const 2) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $kv_next (i32.const 0) (i32.const 0) (i32.const 4096) (i32.const 9)) (i32.const 2))
    (call $is (i32.load8_u (i32.const 4097)) (i32.const 50))
    (call $is (call $kv_next (i32.const 1184) (i32.const 2) (i32.const 4096) (i32.const 9)) (i32.const 3))
    (call $is (call $kv_next (i32.const 1152) (i32.const 3) (i32.const 4096) (i32.const 9)) (i32.const -2))
    (call $is (call $kv_put (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const -22))
    (call $is (call $kv_put (i32.const 0) (i32.const 256) (i32.const 0) (i32.const 0)) (i32.const -22))
    (call $is (call $kv_get (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const -22))
    (call $is (call $kv_del (i32.const 1184) (i32.const 2)) (i32.const 0))
    (call $is (call $kv_del (i32.const 1184) (i32.const 2)) (i32.const -2))
    (call $is64 (call $log_append (i32.const 1104) (i32.const 5)) (i64.const 0))
    (call $is64 (call $log_append (i32.const 0) (i32.const 0)) (i64.const 1))
    (call $is (call $log_read (i64.const 0) (i32.const 4096) (i32.const 9)) (i32.const 5))
    (call $is (i32.load8_u (i32.const 4096)) (i32.const 104))
    (call $is (call $log_read (i64.const 1) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $log_read (i64.const 2) (i32.const 0) (i32.const 0)) (i32.const -2))
    (call $is (call $log_read (i64.const -1) (i32.const 0) (i32.const 0)) (i32.const -2)))
  ;; The store is there again.
  (func $l
    (call $is (call $kv_get (i32.const 1152) (i32.const 3) (i32.const 4096) (i32.const 9)) (i32.const 5)))
  ;; Scratch memory.
  (func $m
    (call $is (call $scratch_read (i32.const 65528) (i32.const 4096) (i32.const 8)) (i32.const 0))
    (call $is (call $scratch_write (i32.const 8) (i32.const 1104) (i32.const 5)) (i32.const 0))
    (call $is (call $scratch_read (i32.const 8) (i32.const 4096) (i32.const 5)) (i32.const 0))
    (call $is (i32.load8_u (i32.const 4096)) (i32.const 104))
    (call $is (call $scratch_read (i32.const 65529) (i32.const 4096) (i32.const 8)) (i32.const -14))
    (call $is (call $scratch_write (i32.const -1) (i32.const 0) (i32.const 1)) (i32.const -14))
    (call $is (call $scratch_write (i32.const 65536) (i32.const 0) (i32.const 1)) (i32.const -14))
    (call $is (call $scratch_write (i32.const 65536) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $scratch_add (i32.const 64) (i64.const 5) (i32.const 4096)) (i32.const 0))
    (call $is64 (i64.load (i32.const 4096)) (i64.const 0))
    (call $is (call $scratch_add (i32.const 64) (i64.const -7) (i32.const 4096)) (i32.const 0))
    (call $is64 (i64.load (i32.const 4096)) (i64.const 5))
    (call $is (call $scratch_cas (i32.const 64) (i64.const 5) (i64.const 9) (i32.const 4096)) (i32.const 0))
    (call $is (call $scratch_cas (i32.const 64) (i64.const -2) (i64.const 9) (i32.const 4096)) (i32.const 1))
    (call $is (call $scratch_cas (i32.const 64) (i64.const -2) (i64.const 9) (i32.const 4096)) (i32.const 0))
    (call $is64 (i64.load (i32.const 4096)) (i64.const 9))
    (call $is (call $scratch_add (i32.const 1) (i64.const 1) (i32.const 4096)) (i32.const -22))
    (call $is (call $scratch_add (i32.const 65536) (i64.const 1) (i32.const 4096)) (i32.const -14))
    (call $is (call $scratch_cas (i32.const 4) (i64.const 1) (i64.const 1) (i32.const 4096)) (i32.const -22)))
  ;; A lock that nobody has.
  (func $n
    (call $is (i64.gt_s (call $lock (i32.const 0) (i32.const 0)) (i64.const 0)) (i32.const 1))
    (call $is64 (call $lock (i32.const 256) (i32.const 0)) (i64.const -22))
    (call $is64 (call $lock (i32.const 0) (i32.const 2)) (i64.const -22))
    (call $is64 (call $lock (i32.const -1) (i32.const 0)) (i64.const -22)))
  ;; It is given back once.
  (func $o
    (call $is (call $unlock (i32.const 0)) (i32.const 0))
    (call $is (call $unlock (i32.const 0)) (i32.const -1))
    (call $is (call $unlock (i32.const 7)) (i32.const -1))
    (call $is (call $unlock (i32.const 999)) (i32.const -1)))
  ;; A kid.
  (func $p
    (call $is (call $spawn (i32.const 1072) (i32.const 2) (i32.const 0) (i32.const 0)) (i32.const -22))
    (call $is (call $spawn (i32.const 1040) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -17))
    (call $is (call $kill (i32.const 1)) (i32.const -1))
    (call $is (call $kill (i32.const 99)) (i32.const -2))
    (global.set $kid (call $spawn (i32.const 1088) (i32.const 3) (i32.const 0) (i32.const 0)))
    (call $is (i32.gt_s (global.get $kid) (i32.const 1)) (i32.const 1)))
  ;; Is found, and ends.
  (func $q
    (call $is (call $find (i32.const 1088) (i32.const 3)) (global.get $kid))
    (call $is (call $kill (global.get $kid)) (i32.const 0)))
  ;; An answer has an end.
  (func $r
    (drop (memory.grow (i32.const 1)))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 65536)) (i32.const 0))
    (call $is (call $answer (i32.const 0) (i32.const 1)) (i32.const -90)))
  ;; Memory grows as far as it may.
  (func $s
    (call $is (memory.grow (i32.const 100)) (i32.const -1))
    (call $is (i32.ge_s (memory.grow (i32.const 1)) (i32.const 1)) (i32.const 1)))
  ;; A trap.
  (func $t
    unreachable)
  ;; A division by zero.
  (func $u
    (drop (i32.div_s (i32.const 1) (i32.load (i32.const 60000)))))
  ;; Memory that is not there.
  (func $v
    (i32.store (i32.const -4) (i32.const 1)))
  ;; A stack without end.
  (func $w
    (drop (call $deep (i32.const 0))))
  ;; A function that is not there.
  (func $x
    (call_indirect (type $test) (i32.const 30)))
  ;; No end.
  (func $y
    (loop $l (br $l)))
  ;; No end of calls.
  (func $z
    (loop $l (drop (call $recv (i32.const 4096) (i32.const 1) (i32.const 0))) (br $l)))
  ;; No end of copies.
  (func $A
    (loop $l (memory.fill (i32.const 8192) (i32.const 0) (i32.const 40000)) (br $l)))
  ;; A refusal with its text.
  (func $B
    (drop (call $answer (i32.const 1136) (i32.const 7)))
    (global.set $outcome (i32.const -17)))
  ;; An outcome that is no errno.
  (func $C
    (global.set $outcome (i32.const -100000)))
  ;; Effects of what is refused.
  (func $D
    (call $is (call $log (i32.const 1200) (i32.const 4)) (i32.const 0))
    (call $is (call $kv_put (i32.const 1184) (i32.const 2) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $scratch_write (i32.const 128) (i32.const 1104) (i32.const 5)) (i32.const 0))
    (global.set $outcome (i32.const -5)))
  ;; Are not there.
  (func $E
    (call $is (call $kv_get (i32.const 1184) (i32.const 2) (i32.const 0) (i32.const 0)) (i32.const -2))
    (call $is (call $scratch_read (i32.const 128) (i32.const 4096) (i32.const 1)) (i32.const 0))
    (call $is (i32.load8_u (i32.const 4096)) (i32.const 0)))
  ;; The end: the first status stays.
  (func $F
    (call $exit (i32.const 3))
    (call $exit (i32.const 4)))
  ;; Files: what is no path, no flag, and not open.
  (func $G
    (call $is64 (call $file_read (i32.const -1) (i32.const 1) (i64.const 0) (i32.const 1)) (i64.const -14))
    (call $is64 (call $file_read (i32.const 1232) (i32.const 1) (i64.const 0) (i32.const 1)) (i64.const -22))
    (call $is64 (call $file_read (i32.const 0) (i32.const 1025) (i64.const 0) (i32.const 1)) (i64.const -36))
    (call $is64 (call $file_read (i32.const 1216) (i32.const 1) (i64.const -1) (i32.const 1)) (i64.const -22))
    (call $is64 (call $file_read (i32.const 1216) (i32.const 1) (i64.const 0) (i32.const 65537)) (i64.const -90))
    (call $is64 (call $file_write (i32.const -1) (i32.const 1) (i64.const 0) (i32.const 1216) (i32.const 1)) (i64.const -14))
    (call $is64 (call $file_write (i32.const 1216) (i32.const 1) (i64.const 0) (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is64 (call $file_write (i32.const 1232) (i32.const 1) (i64.const 0) (i32.const 1216) (i32.const 1)) (i64.const -22))
    (call $is64 (call $file_write (i32.const 1216) (i32.const 1) (i64.const -2) (i32.const 1216) (i32.const 1)) (i64.const -22))
    (call $is64 (call $file_stat (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is64 (call $file_stat (i32.const 1232) (i32.const 1)) (i64.const -22))
    (call $is64 (call $file_list (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is64 (call $file_list (i32.const 0) (i32.const 1025)) (i64.const -36))
    (call $is64 (call $open (i32.const -1) (i32.const 1) (i32.const 0)) (i64.const -14))
    (call $is64 (call $open (i32.const 1232) (i32.const 1) (i32.const 0)) (i64.const -22))
    (call $is64 (call $open (i32.const 1216) (i32.const 1) (i32.const 3)) (i64.const -22))
    (call $is64 (call $open (i32.const 1216) (i32.const 1) (i32.const 2048)) (i64.const -22))
    (call $is64 (call $walk (i32.const 0) (i32.const -1) (i32.const 1) (i32.const 0)) (i64.const -14))
    (call $is64 (call $walk (i32.const 0) (i32.const 1232) (i32.const 1) (i32.const 0)) (i64.const -9))
    (call $is64 (call $walk (i32.const 0) (i32.const 1248) (i32.const 1025) (i32.const 0)) (i64.const -36))
    (call $is64 (call $walk (i32.const 0) (i32.const 1248) (i32.const 2) (i32.const 0)) (i64.const -22))
    (call $is64 (call $walk (i32.const 0) (i32.const 1232) (i32.const 1) (i32.const 3)) (i64.const -22))
    (call $is64 (call $read (i32.const 0) (i64.const -1) (i32.const 1)) (i64.const -22))
    (call $is64 (call $write (i32.const 0) (i64.const -1) (i32.const 1216) (i32.const 1)) (i64.const -22))
    (call $is64 (call $read (i32.const 0) (i64.const 0) (i32.const 1)) (i64.const -9))
    (call $is64 (call $read (i32.const 0) (i64.const 0) (i32.const 65537)) (i64.const -90))
    (call $is64 (call $write (i32.const 0) (i64.const 0) (i32.const -1) (i32.const 1)) (i64.const -14))
    (call $is64 (call $write (i32.const -1) (i64.const 0) (i32.const 1216) (i32.const 1)) (i64.const -9))
    (call $is64 (call $stat (i32.const 7)) (i64.const -9))
    (call $is (call $close (i32.const 0)) (i32.const -9)))
)
